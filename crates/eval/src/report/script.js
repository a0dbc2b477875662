"use strict";
document.documentElement.classList.add("js");

// Tables of class "sortable": a click on a heading sorts by the cells' data-v, numbers downwards first.
for (const table of document.querySelectorAll("table.sortable")) {
  const heads = [...table.tHead.rows[0].cells];
  heads.forEach((head, column) => {
    const sort = () => {
      const rows = [...table.tBodies[0].rows];
      const value = (row) => row.cells[column].dataset.v;
      const numbers = rows.every((row) => value(row) !== "" && isFinite(value(row)));
      const down = head.ariaSort ? head.ariaSort === "ascending" : numbers;
      rows.sort((a, b) => (numbers ? value(a) - value(b) : value(a).localeCompare(value(b))) * (down ? -1 : 1));
      for (const other of heads) other.ariaSort = null;
      head.ariaSort = down ? "descending" : "ascending";
      table.tBodies[0].append(...rows);
    };
    head.classList.add("sorts");
    head.tabIndex = 0;
    head.addEventListener("click", sort);
    head.addEventListener("keydown", (event) => {
      if (event.key === "Enter" || event.key === " ") { event.preventDefault(); sort(); }
    });
  });
}

// Examples: each names the filters that it passes.
const examples = [...document.querySelectorAll("details.ex")];
const filters = [...document.querySelectorAll("button[data-filter]")];
for (const button of filters) {
  button.addEventListener("click", () => {
    for (const other of filters) other.setAttribute("aria-pressed", String(other === button));
    for (const example of examples) example.hidden = !example.dataset.in.split(" ").includes(button.dataset.filter);
  });
}
const toggle = document.querySelector("button[data-toggle]");
if (toggle) {
  toggle.addEventListener("click", () => {
    const open = toggle.dataset.toggle === "open";
    for (const example of examples) if (!example.hidden) example.open = open;
    toggle.dataset.toggle = open ? "close" : "open";
    toggle.textContent = open ? "Close all" : "Open all";
  });
}
