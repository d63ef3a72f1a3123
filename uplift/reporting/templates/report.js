(() => {
  const data = JSON.parse(document.getElementById("report-data").textContent);
  const dark = matchMedia("(prefers-color-scheme: dark)");
  const narrow = matchMedia("(max-width: 600px)");
  const { all } = page;
  const plots = all("[data-figure]");
  const state = { ...data.state, bands: false, budget: data.budget ? data.budget.start : null };
  const PAPER_WIDTH = 660;
  const PAPER_HEIGHT = 0.78; // of the height on a screen: two figures to a page
  let printing = false;

  // ---------------------------------------------------------------- figures

  const keyOf = (plot) => plot.dataset.figure.replace(/\{(\w+)\}/g, (_, name) => state[name]);

  function wrap(text, width) {
    const lines = [""];
    for (const word of String(text).split(" ")) {
      const last = lines[lines.length - 1];
      if (last && (last + " " + word).length > width) lines.push(word);
      else lines[lines.length - 1] = last ? last + " " + word : word;
    }
    return lines.join("<br>");
  }

  function layoutOf(spec, width) {
    const layout = structuredClone(spec.layout);
    layout.template = dark.matches && !printing ? data.templates.dark : data.templates.light;
    layout.autosize = !printing;
    if (printing) {
      layout.width = PAPER_WIDTH;
      layout.height = Math.round(PAPER_HEIGHT * layout.height);
    }
    layout.dragmode = false;
    const small = narrow.matches && !printing;
    for (const name of Object.keys(layout).filter((key) => /^[xy]axis/.test(key))) {
      const axis = layout[name];
      axis.fixedrange = true;
      // Eleven pixels per letter leave room for tick labels beside the axis.
      const room = (name[0] === "x" ? width : layout.height) / 11;
      if (axis.title && axis.title.text) axis.title.text = wrap(axis.title.text, Math.max(20, Math.floor(room)));
      if (!small) continue;
      axis.tickfont = { size: 11 };
      if (axis.nticks) axis.nticks = Math.min(axis.nticks, 5);
      if (axis.ticktext) axis.ticktext = axis.ticktext.map((text) => shorten(text, 16));
    }
    if (small) layout.margin = { l: 2, r: 24, t: 8, b: 4 };
    if (small) {
      layout.legend = { ...(layout.legend || {}), font: { size: 11 } };
      const entries = spec.data.filter((trace) => trace.showlegend !== false && trace.visible !== false).length;
      if (layout.showlegend !== false && entries > 4) layout.height += 11 * entries;
    }
    return layout;
  }

  // Tick texts may hold entities and one <b>: only plain ones are cut.
  function shorten(text, length) {
    if (/[<&]/.test(text) || [...text].length <= length) return text;
    const letters = [...text];
    return letters.slice(0, length / 2).join("") + "…" + letters.slice(-(length / 2 - 1)).join("");
  }

  function tracesOf(spec) {
    return spec.data.map((trace) => {
      const copy = { ...trace };
      if (copy.meta === "band" && state.bands) copy.visible = true;
      if (copy.meta === "chosen" && data.budget) {
        const now = atBudget(state.budget);
        const y = copy.yaxis === "y2" ? now.roi : now.value;
        copy.x = [state.budget];
        copy.y = [copy.yaxis === "y2" && !(y > 0) ? null : y];
      }
      return copy;
    });
  }

  function draw(plot) {
    const spec = data.figures[keyOf(plot)];
    // What is closed has no width: it is drawn when it is opened.
    if (plot.closest("details:not([open])")) return;
    const box = plot.closest("figure");
    for (const button of all("[data-image]", box)) button.hidden = !spec;
    if (!spec) {
      Plotly.purge(plot);
      plot.style.height = "auto";
      box.querySelector("[data-figure-title]").textContent = "Nothing to show for this choice";
      box.querySelector("[data-figure-subtitle]").textContent = "";
      plot.setAttribute("aria-label", "There is no figure for this choice.");
      delete plot.dataset.drawn;
      return;
    }
    box.querySelector("[data-figure-title]").textContent = spec.title;
    box.querySelector("[data-figure-subtitle]").textContent = spec.subtitle;
    plot.setAttribute("aria-label", spec.alt);
    plot.dataset.drawn = keyOf(plot);
    const layout = layoutOf(spec, printing ? PAPER_WIDTH : plot.clientWidth);
    plot.style.height = layout.height + "px";
    Plotly.react(plot, tracesOf(spec), layout, {
      responsive: !printing,
      displaylogo: false,
      displayModeBar: false,
    });
  }

  // A figure on its own: light, on white, with its title; names in it are text and not markup.
  const markup = { "&": "&amp;", "<": "&lt;", ">": "&gt;" };
  const plainText = (text) => text.replace(/[&<>]/g, (letter) => markup[letter]);

  async function download(plot, format) {
    const spec = data.figures[keyOf(plot)];
    const width = 900;
    const layout = structuredClone(spec.layout);
    layout.template = data.templates.light;
    layout.paper_bgcolor = layout.plot_bgcolor = "#ffffff";
    layout.title = { text: plainText(spec.title), subtitle: { text: wrap(plainText(spec.subtitle), 120) } };
    layout.margin = { l: 16, r: 36, t: 90, b: 16 };
    layout.height += 90;
    const url = await Plotly.toImage({ data: tracesOf(spec), layout: { ...layout, width } }, { format, width, height: layout.height, scale: format === "png" ? 2 : 1 });
    page.save(`${keyOf(plot).replace(/[^\w-]+/g, "-")}.${format}`, url);
  }

  for (const button of all("[data-image]")) {
    button.addEventListener("click", () => download(button.closest("figure").querySelector("[data-figure]"), button.dataset.image));
  }

  const drawAll = () => plots.forEach(draw);
  for (const box of all("details")) {
    box.addEventListener("toggle", () => box.open && plots.filter((plot) => box.contains(plot)).forEach(draw));
  }
  const drawWith = (name) => plots.filter((plot) => plot.dataset.figure.includes("{" + name + "}")).forEach(draw);

  // ---------------------------------------------------------------- tables

  // Tables and lists that hold every choice and show the chosen one.
  const filtered = all("[data-by]");
  const captions = filtered.map((box) => (box.caption ? box.caption.firstElementChild.textContent : ""));
  const single = all("[data-by-self]");

  function chosenText(name) {
    const select = document.querySelector(`select[data-state="${name}"]`);
    if (!select || select.selectedIndex < 0) return "";
    return select.options[select.selectedIndex].text + (name === "arm" ? " against control" : "");
  }

  function filterRows() {
    filtered.forEach((box, index) => {
      const names = box.dataset.by.split(" ");
      let count = 0;
      for (const row of box.tBodies ? box.tBodies[0].rows : box.children) {
        row.hidden = names.some((name) => row.dataset[name] !== String(state[name]));
        if (!row.hidden) count += 1;
      }
      const texts = names.map(chosenText);
      if (box.caption) box.caption.firstElementChild.textContent = `${captions[index]}: ${texts.join(", ")}`;
      box.classList.add("filtered");
      if (box.id === "table-scores") document.getElementById("who-status").textContent = `${count} rankings at ${texts.join(", ")}`;
    });
    for (const one of single) one.hidden = one.dataset[one.dataset.bySelf] !== String(state[one.dataset.bySelf]);
  }

  // ---------------------------------------------------------------- budget

  // Straight lines between the points of the curve; the return is that of the steps that end at the next point.
  function atBudget(money) {
    const { budgets, values, spends, roi, treated } = data.budget;
    const last = budgets.length - 1;
    let next = budgets.findIndex((budget) => budget >= money);
    if (next < 0) return { spend: spends[last], value: values[last], roi: money > budgets[last] ? 0 : roi[last], treated: treated[last] };
    if (next === 0) return { spend: spends[0], value: values[0], roi: roi[0], treated: treated[0] };
    const share = (money - budgets[next - 1]) / (budgets[next] - budgets[next - 1]);
    const between = (array) => array[next - 1] + share * (array[next] - array[next - 1]);
    return { spend: between(spends), value: between(values), roi: roi[next], treated: Math.round(between(treated)) };
  }

  function people(number, sign) {
    const size = Math.abs(number);
    const digits = size === 0 ? 0 : Math.min(12, Math.max(0, 2 - Math.floor(Math.log10(size))));
    const text = size.toLocaleString("en", { minimumFractionDigits: digits, maximumFractionDigits: digits });
    return (number < 0 ? "−" : sign && size > 0 ? "+" : "") + text;
  }

  // Cents are enough for a field, but never more than the curve's end.
  function typed(money) {
    const cents = Number(money.toFixed(2));
    return cents > data.budget.last ? Math.floor(money * 100) / 100 : cents;
  }

  function measuredAt(spend) {
    const { planned, value, low, high } = data.budget.measured;
    const last = planned.length - 1;
    let next = planned.findIndex((money) => money >= spend);
    if (next < 0) next = last;
    const before = Math.max(next - 1, 0);
    const step = planned[next] - planned[before];
    const share = step > 0 ? Math.min((spend - planned[before]) / step, 1) : 1;
    const between = (series) => series[before] + Math.max(share, 0) * (series[next] - series[before]);
    return { value: between(value), low: between(low), high: between(high) };
  }

  function showBudget() {
    const now = atBudget(state.budget);
    const start = atBudget(data.budget.start);
    const numbers = { ...now, change: now.value - start.value };
    if (data.budget.measured) {
      const found = measuredAt(now.spend);
      numbers.measured = found.value;
      document.getElementById("budget-measured-interval").textContent = `${people(found.low)} to ${people(found.high)}`;
    }
    for (const cell of all("[data-budget]")) {
      const number = numbers[cell.dataset.budget];
      cell.textContent = cell.dataset.budget === "treated" ? number.toLocaleString("en") : people(number, cell.dataset.budget === "change");
      cell.dataset.value = number;
      cell.title = number;
    }
    const slider = document.getElementById("budget-slider");
    const field = document.getElementById("budget-number");
    slider.value = state.budget;
    slider.setAttribute("aria-valuetext", people(state.budget));
    if (document.activeElement !== field) field.value = typed(state.budget);
    const plot = document.getElementById("figure-budget");
    const spec = data.figures.budget;
    if (plot.data) {
      const chosen = spec.data.flatMap((trace, index) => (trace.meta === "chosen" ? [index] : []));
      const traces = tracesOf(spec);
      Plotly.restyle(plot, { x: chosen.map((i) => traces[i].x), y: chosen.map((i) => traces[i].y) }, chosen);
    }
  }

  function setBudget(money, then = "replace") {
    state.budget = Math.min(Math.max(Number(money) || 0, 0), data.budget.last);
    showBudget();
    remember(then);
  }

  if (data.budget) {
    const slider = document.getElementById("budget-slider");
    const field = document.getElementById("budget-number");
    slider.addEventListener("input", () => setBudget(slider.value));
    const hint = document.getElementById("budget-hint");
    // While somebody types, the text stays and a hint says what is shown; when they are done, the text follows.
    field.addEventListener("input", () => {
      const money = Number(field.value);
      const known = field.value.trim() !== "" && Number.isFinite(money);
      if (known) setBudget(money);
      const outside = !known || money !== state.budget;
      hint.textContent = outside ? `A budget between 0 and ${people(data.budget.last)}, please; more would bring nothing. Shown is ${people(state.budget)}.` : "";
      hint.hidden = !outside;
      field.setAttribute("aria-invalid", outside);
    });
    const settle = () => {
      field.value = typed(state.budget);
      field.removeAttribute("aria-invalid");
      hint.hidden = true;
    };
    field.addEventListener("change", settle);
    field.addEventListener("blur", settle);
    document.getElementById("budget-reset").addEventListener("click", () => setBudget(data.budget.start));
  }

  // ---------------------------------------------------------------- state: selects, the address, back and forward

  const inputs = all("[data-state]");

  function show(name) {
    drawWith(name);
    if (name === "bands") drawWith("curve");
    else filterRows();
  }

  for (const input of inputs) {
    input.addEventListener("change", () => {
      const name = input.dataset.state;
      state[name] = input.type === "checkbox" ? input.checked : input.value;
      // The same choice may be offered in two sections.
      for (const other of inputs) if (other !== input && other.dataset.state === name) other.value = input.value;
      show(name);
      remember("push");
    });
  }

  // The address is #SECTION&stage=1&arm=0...: a link to this view of the page.
  function remember(how) {
    const section = location.hash.slice(1).split("&")[0];
    const parts = [...new Set(inputs.map((input) => input.dataset.state))].map((name) => `${name}=${state[name]}`);
    if (data.budget && state.budget !== data.budget.start) parts.push(`budget=${state.budget}`);
    const hash = "#" + [section, ...parts].join("&");
    try {
      history[how + "State"]({ ...state }, "", hash);
    } catch {
      // Some viewers forbid it for local files: the page works without an address.
    }
  }

  // From an address or from the history: whatever is not a known option is ignored.
  function recall(wanted) {
    for (const input of inputs) {
      const found = wanted[input.dataset.state];
      if (found === undefined) continue;
      const text = String(found);
      if (input.type === "checkbox") input.checked = text === "true";
      else if ([...input.options].some((option) => option.value === text)) input.value = text;
      state[input.dataset.state] = input.type === "checkbox" ? input.checked : input.value;
    }
    if (data.budget) {
      const money = Number(wanted.budget ?? data.budget.start);
      state.budget = Number.isFinite(money) ? Math.min(Math.max(money, 0), data.budget.last) : data.budget.start;
    }
  }

  function refresh() {
    filterRows();
    if (data.budget) showBudget();
    drawAll();
  }

  addEventListener("popstate", (event) => {
    // A jump to a section has no state and changes none.
    if (!event.state) return;
    recall(event.state);
    refresh();
  });

  // ---------------------------------------------------------------- page: theme, width, print, place

  dark.addEventListener("change", drawAll);
  narrow.addEventListener("change", drawAll);

  // On paper: light colours, everything open, and drawings as wide as the sheet (A4 and Letter, not the window).
  function print(on) {
    if (printing === on) return;
    printing = on;
    for (const box of all("details")) {
      if (on && !box.open) box.dataset.opened = "";
      if (on || "opened" in box.dataset) box.open = on;
      if (!on) delete box.dataset.opened;
    }
    drawAll();
  }
  addEventListener("beforeprint", () => print(true));
  addEventListener("afterprint", () => print(false));

  const [section, ...parts] = location.hash.slice(1).split("&");
  if (parts.length) recall(Object.fromEntries(parts.map((part) => part.split("="))));
  try {
    history.replaceState({ ...state }, "");
  } catch {
    // As above.
  }
  refresh();
  if (parts.length && document.getElementById(section)) document.getElementById(section).scrollIntoView();
  document.documentElement.dataset.ready = "true";
})();
