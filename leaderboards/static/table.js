"use strict";
// Sorting and filtering of the rows that the page already holds. The view is kept in the address, so it can be linked.
(() => {
  const form = document.getElementById("filters");
  const bodies = ["ours", "instruments", "reported"].map((id) => document.getElementById(id)).filter(Boolean);
  const rows = bodies.map((body) => [...body.rows]);
  const heads = [...document.querySelectorAll("#board th[data-key]")];
  const sort = { key: "", descending: false };

  const value = (row, head) => {
    const text = row.dataset[head.dataset.key] ?? "";
    return head.classList.contains("number") ? (text === "" ? NaN : Number(text)) : text;
  };

  // Rows without a value stay last; scores of different tasks do not compare, so they are sorted task by task.
  function compare(a, b, head) {
    const byTask = ["score", "second", "nats", "difference"].includes(sort.key) ? a.dataset.task.localeCompare(b.dataset.task) : 0;
    if (byTask) return byTask;
    const [x, y] = [value(a, head), value(b, head)];
    if (typeof x === "string") return (sort.descending ? -1 : 1) * x.localeCompare(y);
    if (Number.isNaN(x) || Number.isNaN(y)) return Number.isNaN(x) - Number.isNaN(y);
    return sort.descending ? y - x : x - y;
  }

  function order() {
    const head = heads.find((one) => one.dataset.key === sort.key);
    bodies.forEach((body, index) => {
      body.append(...(head ? [...rows[index]].sort((a, b) => compare(a, b, head)) : rows[index]));
    });
    for (const one of heads) {
      one.setAttribute("aria-sort", one !== head ? "none" : sort.descending ? "descending" : "ascending");
    }
  }

  function filter() {
    const wanted = [...new FormData(form)].filter(([, chosen]) => chosen !== "");
    for (const row of rows.flat()) row.hidden = wanted.some(([name, chosen]) => row.dataset[name] !== chosen);
    bodies.forEach((body, index) => {
      const divider = body.previousElementSibling;
      if (divider.classList.contains("divider")) divider.hidden = rows[index].every((row) => row.hidden);
    });
    const [printed, measured] = [true, false].map((from) => rows.filter((_, i) => (bodies[i].id === "reported") === from).flat());
    const shown = (group) => `${group.filter((row) => !row.hidden).length} of ${group.length}`;
    const reported = printed.length ? ` and ${shown(printed)} reported rows` : "";
    document.getElementById("count").textContent = `Showing ${shown(measured)} results${reported}.`;
    document.dispatchEvent(new CustomEvent("rows-changed", { detail: measured.filter((row) => !row.hidden) }));
  }

  function remember() {
    const state = new URLSearchParams([...new FormData(form)].filter(([, chosen]) => chosen !== ""));
    if (sort.key) state.set("sort", (sort.descending ? "-" : "") + sort.key);
    history.replaceState(null, "", `#${state}`);
  }

  function recall() {
    for (const [name, chosen] of new URLSearchParams(location.hash.slice(1))) {
      if (name === "sort") {
        sort.descending = chosen.startsWith("-");
        sort.key = chosen.replace(/^-/, "");
      } else if (form.elements[name]) form.elements[name].value = chosen;
    }
  }

  for (const head of heads) {
    const button = document.createElement("button");
    button.type = "button";
    button.append(...head.childNodes);
    head.append(button);
    button.addEventListener("click", () => {
      sort.descending = sort.key === head.dataset.key ? !sort.descending : head.classList.contains("number");
      sort.key = head.dataset.key;
      order();
      remember();
    });
  }
  form.addEventListener("change", () => { filter(); remember(); });
  form.addEventListener("reset", () => setTimeout(() => { filter(); remember(); }));
  form.hidden = false;
  recall();
  order();
  addEventListener("DOMContentLoaded", filter); // after every deferred script has begun to listen
})();
