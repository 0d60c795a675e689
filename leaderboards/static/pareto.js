"use strict";
// Quality against cost: one plot per run and task, since only methods of one run saw the same users under one clock.
(() => {
  const MOST = 12;
  const MARGIN = { top: 22, right: 150, bottom: 44, left: 50 };
  const COSTS = {
    fit: { title: "Fit time", format: duration },
    tokens: { title: "Tokens, fit and evaluation", format: (value) => d3.format("~s")(value) },
    memory: { title: "Peak memory", format: bytes },
    stored: { title: "Bytes stored by the fit", format: bytes },
  };
  const section = document.getElementById("pareto");
  const charts = document.getElementById("charts");
  const cost = document.getElementById("cost");
  let shown = [];

  function duration(value) {
    return value < 60 ? `${Number(value.toPrecision(3))} s` : `${Number((value / 60).toPrecision(3))} min`;
  }

  function bytes(value) {
    const power = value < 1 ? 0 : Math.min(3, Math.floor(Math.log2(value) / 10));
    return `${Number((value / 2 ** (10 * power)).toPrecision(3))} ${["B", "KiB", "MiB", "GiB"][power]}`;
  }

  const point = (row) => ({
    label: row.dataset.method,
    kind: row.dataset.kind,
    cost: row.dataset[cost.value] === "" ? NaN : Number(row.dataset[cost.value]),
    score: Number(row.dataset.score),
    low: Number(row.dataset.low ?? row.dataset.score),
    high: Number(row.dataset.high ?? row.dataset.score),
    ranks: row.dataset.ranks === "1",
  });

  // The points that no other beats in both, controls aside, which nobody would choose: from the cheapest on, those that improve on all before.
  function front(points, higher) {
    const sign = higher ? 1 : -1;
    const sorted = points.filter((p) => p.ranks && p.kind !== "control").sort((a, b) => a.cost - b.cost || sign * (b.score - a.score));
    let best = -Infinity;
    return sorted.filter((p) => sign * p.score > best && ((best = sign * p.score), true));
  }

  function draw(points, { metric, higher }, width) {
    const { title, format } = COSTS[cost.value];
    const common = { x: "cost", y: "score", stroke: (p) => `var(--${p.kind})` };
    return Plot.plot({
      width, height: 300, className: "plot", marginTop: MARGIN.top, marginRight: MARGIN.right, marginBottom: MARGIN.bottom, marginLeft: MARGIN.left,
      ariaLabel: `${metric} against ${title.toLowerCase()}`,
      x: { type: "sqrt", domain: [0, d3.max(points, (p) => p.cost) || 1], nice: true, ticks: width < 480 ? 2 : 4, tickFormat: format, label: `${title} (square-root scale) →`, labelAnchor: "right", labelOffset: 36 },
      y: { nice: true, ticks: 5, grid: true, label: `${higher ? "↑" : "↓"} ${metric} (${higher ? "higher" : "lower"} is better)` },
      color: { type: "identity" },
      marks: [
        Plot.line(front(points, higher), { x: "cost", y: "score", curve: "step-after", stroke: "var(--muted)", strokeDasharray: "4 3", ariaDescription: "Pareto front" }),
        Plot.ruleX(points, { ...common, y: undefined, y1: "low", y2: "high", strokeOpacity: 0.45, strokeWidth: 1.5 }),
        Plot.dot(points, { ...common, r: 4.5, fill: (p) => (p.ranks ? `var(--${p.kind})` : "var(--page)"), symbol: (p) => ({ control: "diamond", baseline: "square" })[p.kind] ?? "circle", strokeWidth: 1.5 }),
        Plot.tip(points, Plot.pointer({ x: "cost", y: "score", ariaDescription: "tip", lineHeight: 1.35, fill: "var(--raised)", stroke: "var(--line)", title: (p) => `${p.label}\n${metric} ${p.score.toFixed(3)} (${p.low.toFixed(3)} to ${p.high.toFixed(3)})\n${title}: ${format(p.cost)}` })),
      ],
      symbol: { type: "identity" },
    });
  }

  // Names in the right margin, moved apart where they would overlap, each with a line to its point.
  function label(plot, points, width) {
    const [x, y] = ["x", "y"].map((name) => plot.scale(name).apply);
    const placed = points.map((p) => ({ ...p, px: x(p.cost), py: y(p.score), ly: y(p.score) })).sort((a, b) => a.py - b.py);
    const step = 15;
    placed.forEach((p, i) => { if (i) p.ly = Math.max(p.ly, placed[i - 1].ly + step); });
    const over = Math.max(0, (placed.at(-1)?.ly ?? 0) - (300 - MARGIN.bottom));
    for (let i = placed.length - 1, limit = Infinity; i >= 0 && over; i -= 1) {
      placed[i].ly = Math.min(placed[i].ly, limit === Infinity ? placed[i].ly - over : limit - step);
      limit = placed[i].ly;
    }
    const edge = width - MARGIN.right + 14;
    const svg = d3.select(plot.tagName === "svg" ? plot : plot.querySelector("svg"));
    svg.attr("role", "img").selectAll("[aria-label]").attr("aria-label", null); // one picture: its parts have no role
    const names = svg.insert("g", "[aria-description=tip]").attr("class", "names");
    names.selectAll("path").data(placed).join("path").attr("d", (p) => `M${p.px + 7},${p.py}L${edge - 16},${p.py}L${edge - 4},${p.ly}`);
    names.selectAll("text").data(placed).join("text").attr("x", edge).attr("y", (p) => p.ly).attr("dy", "0.32em")
      .text((p) => (p.label.length > 20 ? `${p.label.slice(0, 19)}…` : p.label)).append("title").text((p) => p.label);
  }

  // A run of each task, then another of each: the few plots that are drawn are of every task, of the runs with most methods first.
  const inTurn = (tasks) => d3.range(d3.max(tasks, (runs) => runs.length)).flatMap((place) => tasks.map((runs) => runs[place]).filter(Boolean));

  function redraw() {
    const groups = d3.groups(shown.filter((row) => row.dataset.score !== undefined), (row) => row.parentElement.id, (row) => row.dataset.task, (row) => row.dataset.run)
      .flatMap(([, tasks]) => inTurn(tasks.map(([, runs]) => d3.sort(runs.map(([, rows]) => rows), (rows) => -rows.length))));
    section.hidden = groups.length === 0;
    charts.replaceChildren();
    for (const rows of groups.slice(0, MOST)) {
      const first = rows[0].dataset;
      const figure = document.createElement("figure");
      const caption = document.createElement("figcaption");
      const strong = document.createElement("strong");
      strong.textContent = first.task;
      caption.append(strong, ` ${first.setting}`);
      figure.append(caption);
      charts.append(figure);
      const points = rows.map(point).filter((p) => Number.isFinite(p.cost));
      if (points.length === 0) {
        figure.append("This run does not tell this cost.");
        continue;
      }
      const width = Math.max(300, figure.clientWidth);
      const plot = draw(points, { metric: first.metric, higher: first.higher === "1" }, width);
      label(plot, points, width);
      figure.append(plot);
    }
    if (groups.length > MOST) {
      const more = document.createElement("p");
      more.textContent = `${groups.length - MOST} more: narrow the filters to see them.`;
      charts.append(more);
    }
  }

  document.addEventListener("rows-changed", (event) => { shown = event.detail; redraw(); });
  cost.addEventListener("change", redraw);
  let width = innerWidth;
  addEventListener("resize", () => { if (innerWidth !== width) { width = innerWidth; redraw(); } });
})();
