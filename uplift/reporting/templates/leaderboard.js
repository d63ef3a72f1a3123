(() => {
  const { choices } = JSON.parse(document.getElementById("board-data").textContent);
  const scores = document.getElementById("table-scores");
  const caption = scores.caption.firstElementChild;

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
    page.showEdges();
  }

  if (choices.length) {
    fill(data, [...new Set(choices.map((choice) => choice.data))].map((name) => [name, name]));
    offer();
    data.addEventListener("change", () => { offer(); show(); });
    measure.addEventListener("change", show);
    everything.addEventListener("change", show);
    show();
  }
  page.showEdges();
  document.documentElement.dataset.ready = "true";
})();
