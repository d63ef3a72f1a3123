"use strict";
// What every page has: tables that sort, wide tables that say that they go on, and a menu that shows the place.
const page = (() => {
  const all = (selector, root = document) => [...root.querySelectorAll(selector)];

  function sortBy(table, index) {
    const head = table.tHead.rows[0].cells[index];
    const number = head.classList.contains("number");
    // Numbers start with the highest, words with A.
    const current = head.getAttribute("aria-sort");
    const ascending = current ? current === "descending" : !number;
    const rows = [...table.tBodies[0].rows];
    const value = (row) => row.cells[index].dataset.value;
    // Money and percentage points have no common order: numbers are sorted within their unit.
    const units = [...new Set(rows.map((row) => row.cells[index].dataset.unit).filter(Boolean))].sort();
    const group = (row) => units.indexOf(row.cells[index].dataset.unit);
    rows.sort((one, two) => {
      const a = value(one), b = value(two);
      if (!a || !b) return (a ? 0 : 1) - (b ? 0 : 1);
      if (group(one) !== group(two)) return group(one) - group(two);
      const order = number ? Number(a) - Number(b) : a.localeCompare(b, "en", { numeric: true });
      return ascending ? order : -order;
    });
    for (const cell of table.tHead.rows[0].cells) cell.removeAttribute("aria-sort");
    head.setAttribute("aria-sort", ascending ? "ascending" : "descending");
    table.tBodies[0].append(...rows);
  }

  for (const table of all("table.sortable")) {
    all("button.sort", table).forEach((button, index) => button.addEventListener("click", () => sortBy(table, index)));
  }

  const regions = all(".scroll");

  function showEdges() {
    for (const region of regions) {
      const rest = region.scrollWidth - region.clientWidth;
      region.querySelector(".sideways").hidden = rest <= 1;
      region.parentElement.classList.toggle("more", rest - region.scrollLeft > 1);
    }
  }

  const sizes = new ResizeObserver(showEdges);
  for (const region of regions) {
    region.addEventListener("scroll", showEdges, { passive: true });
    sizes.observe(region);
    sizes.observe(region.firstElementChild);
  }

  const links = all("nav a");
  const places = new IntersectionObserver(
    (entries) => {
      for (const entry of entries) {
        if (!entry.isIntersecting) continue;
        for (const link of links) {
          if (link.hash === "#" + entry.target.id) link.setAttribute("aria-current", "true");
          else link.removeAttribute("aria-current");
        }
      }
    },
    { rootMargin: "-20% 0px -70% 0px" },
  );
  all("main > section").forEach((section) => places.observe(section));

  return { all, showEdges };
})();
