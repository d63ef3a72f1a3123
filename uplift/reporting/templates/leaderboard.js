"use strict";
(() => {
  const { choices } = JSON.parse(document.getElementById("board-data").textContent);
  const all = (selector, root = document) => [...root.querySelectorAll(selector)];
  const scores = document.getElementById("table-scores");
  const caption = scores.caption.firstElementChild;

  // ---------------------------------------------------------------- sorting

  function sortBy(table, index) {
    const head = table.tHead.rows[0].cells[index];
    const number = head.classList.contains("number");
    const current = head.getAttribute("aria-sort");
    // Numbers start with the highest, words with A.
    const ascending = current ? current === "descending" : !number;
    const rows = [...table.tBodies[0].rows];
    rows.sort((one, two) => {
      const a = one.cells[index].dataset.value, b = two.cells[index].dataset.value;
      if (!a || !b) return (a ? 0 : 1) - (b ? 0 : 1);
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

  // ---------------------------------------------------------------- which data set, which measure

  const data = document.getElementById("choose-data");
  const measure = document.getElementById("choose-measure");
  const everything = document.getElementById("choose-all");

  function fill(select, entries) {
    select.replaceChildren(...entries.map(([value, text]) => new Option(text, value)));
  }

  function offer() {
    const wanted = measure.selectedOptions[0]?.text;
    const here = choices.filter((choice) => choice.data === data.value);
    fill(measure, here.map((choice) => [choice.id, choice.title]));
    const same = here.find((choice) => choice.title === wanted);
    if (same) measure.value = same.id;
  }

  function show() {
    const open = everything.checked;
    data.disabled = measure.disabled = open;
    let count = 0;
    for (const row of scores.tBodies[0].rows) {
      row.hidden = !open && row.dataset.cell !== measure.value;
      if (!row.hidden) count += 1;
    }
    const chosen = choices.find((choice) => choice.id === measure.value);
    caption.textContent = open ? "Scores: all" : `${chosen.title} on ${chosen.data}` + (chosen.better ? `, ${chosen.better}` : "");
    scores.classList.toggle("filtered", !open);
    document.getElementById("scores-status").textContent = `${count} rows`;
    edges();
  }

  // ---------------------------------------------------------------- wide tables say that they go on

  const regions = all(".scroll");

  function edges() {
    for (const region of regions) {
      const rest = region.scrollWidth - region.clientWidth;
      region.querySelector(".sideways").hidden = rest <= 1;
      region.parentElement.classList.toggle("more", rest - region.scrollLeft > 1);
    }
  }

  regions.forEach((region) => region.addEventListener("scroll", edges, { passive: true }));
  const watched = new ResizeObserver(edges);
  regions.forEach((region) => watched.observe(region));

  // ---------------------------------------------------------------- place

  const links = all("nav a");
  const watcher = new IntersectionObserver(
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
  all("main > section").forEach((section) => watcher.observe(section));

  if (choices.length) {
    fill(data, [...new Set(choices.map((choice) => choice.data))].map((name) => [name, name]));
    offer();
    data.addEventListener("change", () => { offer(); show(); });
    measure.addEventListener("change", show);
    everything.addEventListener("change", show);
    show();
  }
  edges();
  document.documentElement.dataset.ready = "true";
})();
