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

  // ---------------------------------------------------------------- tables to take away

  // Exact numbers with their intervals in columns of their own, of the rows that are shown.
  function contentOf(table) {
    const heads = [...table.tHead.rows[0].cells];
    const rows = [...table.tBodies[0].rows].filter((row) => !row.hidden);
    const titleOf = (cell) => (cell.querySelector(".sort") || cell).firstChild.textContent.trim();
    const wide = heads.map((_, index) => rows.some((row) => row.cells[index].dataset.low));
    const lines = [heads.flatMap((cell, index) => (wide[index] ? [titleOf(cell), titleOf(cell) + " low", titleOf(cell) + " high"] : [titleOf(cell)]))];
    for (const row of rows) {
      lines.push(
        [...row.cells].flatMap((cell, index) => {
          const number = heads[index].classList.contains("number");
          const shown = cell.firstElementChild ? cell.firstElementChild.textContent : cell.textContent;
          const text = number ? (cell.dataset.value ?? "") : shown.trim();
          return wide[index] ? [text, cell.dataset.low ?? "", cell.dataset.high ?? ""] : [text];
        }),
      );
    }
    return lines;
  }

  // A name that begins like a formula must not become one in a spreadsheet.
  const harmless = (text) => (/^[=+\-@\t\r]/.test(text) && !/^[+-]?[\d.]+(e[+-]?\d+)?$/i.test(text) ? "'" + text : text);
  const quoted = (text) => (/[",\n\r]/.test(text) ? '"' + text.replace(/"/g, '""') + '"' : text);
  const csv = (table) => contentOf(table).map((line) => line.map((text) => quoted(harmless(text))).join(",")).join("\r\n") + "\r\n";
  const tsv = (table) => contentOf(table).map((line) => line.map((text) => harmless(text).replace(/\s+/g, " ")).join("\t")).join("\n");

  function save(name, url) {
    const link = document.createElement("a");
    link.href = url;
    link.download = name;
    link.click();
  }

  async function copy(text) {
    try {
      await navigator.clipboard.writeText(text);
    } catch {
      // Some viewers give local files no clipboard: the old way works everywhere.
      const area = document.createElement("textarea");
      area.value = text;
      area.setAttribute("aria-hidden", "true");
      document.body.append(area);
      area.select();
      document.execCommand("copy");
      area.remove();
    }
  }

  function confirm(button, text) {
    const before = button.dataset.text ?? button.textContent;
    button.dataset.text = before;
    button.textContent = text;
    setTimeout(() => (button.textContent = before), 1500);
  }

  for (const button of all("[data-csv]")) {
    button.addEventListener("click", () => {
      const url = URL.createObjectURL(new Blob(["\ufeff", csv(document.getElementById(button.dataset.csv))], { type: "text/csv" }));
      save(button.dataset.csv.replace(/^table-/, "") + ".csv", url);
      setTimeout(() => URL.revokeObjectURL(url), 10000);
    });
  }
  for (const button of all("[data-copy]")) {
    button.addEventListener("click", async () => {
      await copy(tsv(document.getElementById(button.dataset.copy)));
      button.focus();
      confirm(button, "Copied");
    });
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

  return { all, showEdges, save, confirm };
})();
