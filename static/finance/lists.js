// Selects all rows of a list with the checkbox above them. Without this script each row is selected by itself.
(() => {
  "use strict";
  document.addEventListener("DOMContentLoaded", () => {
    const all = document.querySelector("[data-select-all]");
    if (!all) {
      return;
    }
    const rows = [...all.closest("table").querySelectorAll("[name=only]")];
    const button = document.querySelector("[data-selected]");
    const show = () => {
      const selected = rows.filter((row) => row.checked).length;
      all.checked = selected === rows.length;
      all.indeterminate = selected > 0 && !all.checked;
      button.disabled = selected === 0;
    };
    all.addEventListener("change", () => {
      for (const row of rows) {
        row.checked = all.checked;
      }
      show();
    });
    for (const row of rows) {
      row.addEventListener("change", show);
    }
    all.hidden = false;
    show(); // the browser keeps checkboxes when the user comes back
  });
})();
