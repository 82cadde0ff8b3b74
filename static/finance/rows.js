// Tables in forms: adds, copies and removes rows without loading the page, undoes that, and computes totals as one types.
// Without this script, the buttons submit the form, and the page comes back with the row.
(() => {
  "use strict";

  // The exact product of two decimal numbers, as text; "" if one is not a number.
  function product(left, right) {
    const pattern = /^\d+(\.\d+)?$/;
    if (!pattern.test(left) || !pattern.test(right)) return "";
    const digits = [left, right].map((text) => (text.split(".")[1] || "").length);
    const [a, b] = [left, right].map((text) => BigInt(text.replace(".", "")));
    const places = digits[0] + digits[1];
    const text = String(a * b).padStart(places + 1, "0");
    return places ? `${text.slice(0, -places)}.${text.slice(-places)}` : text;
  }

  function prepare(table) {
    const name = table.dataset.rows;
    const body = table.querySelector("tbody");
    const template = table.querySelector("template");
    const undo = table.querySelector("[data-undo]");
    const said = table.querySelector("[data-said]");
    const most = Number(table.dataset.most);
    const undos = [];
    let next = body.rows.length;

    function show(row) {
      row.querySelector("[data-remove]").hidden = false;
      row.querySelector("[data-without-script]").remove();
    }

    function done(text, back) {
      undos.push(back);
      undo.disabled = false;
      said.textContent = text;
    }

    function insert(row, after) {
      if (body.rows.length >= most) {
        said.textContent = said.dataset.full;
        return;
      }
      body.insertBefore(row, after ? after.nextSibling : null);
      show(row);
      done(said.dataset.added, () => row.remove());
      row.querySelector("input:not([type=hidden])").focus();
    }

    function blank() {
      const row = template.content.querySelector("tr").cloneNode(true);
      for (const control of row.querySelectorAll("[name]")) {
        control.name = control.name.replace(`${name}-NEW-`, `${name}-${next}-`);
      }
      next += 1;
      return row;
    }

    function copy(row) {
      const fresh = blank();
      const controls = fresh.querySelectorAll("input, select, textarea");
      row.querySelectorAll("input, select, textarea").forEach((control, index) => {
        const other = controls[index];
        if (control.tagName === "SELECT" && ![...other.options].some((one) => one.value === control.value)) {
          other.append(control.selectedOptions[0].cloneNode(true));
        }
        other.value = control.value;
        other.checked = control.checked;
      });
      const output = row.querySelector("output");
      if (output) fresh.querySelector("output").textContent = output.textContent;
      insert(fresh, row);
    }

    function remove(row) {
      const place = row.nextSibling;
      const focus = row.nextElementSibling || row.previousElementSibling;
      row.remove();
      done(said.dataset.removed, () => body.insertBefore(row, place && place.parentNode === body ? place : null));
      (focus ? focus.querySelector("[data-remove]") : table.querySelector("[data-add]")).focus();
    }

    table.addEventListener("click", (event) => {
      const button = event.target.closest("button");
      if (!button) return;
      const row = button.closest("[data-row]");
      if ("add" in button.dataset) insert(blank(), body.lastElementChild);
      else if ("copy" in button.dataset) copy(row);
      else if ("remove" in button.dataset) remove(row);
      else if ("undo" in button.dataset) {
        undos.pop()();
        undo.disabled = undos.length === 0;
        said.textContent = said.dataset.undone;
        if (undo.disabled) table.querySelector("[data-add]").focus();
      } else return;
      event.preventDefault();
    });

    table.addEventListener("input", (event) => {
      if (!("factor" in event.target.dataset)) return;
      const row = event.target.closest("[data-row]");
      const [quantity, price] = [...row.querySelectorAll("[data-factor]")].map((control) => control.value.trim());
      const output = row.querySelector("output");
      const total = product(quantity, price);
      output.title = total;
      output.textContent = total.length > 16 ? `${total.slice(0, 15)}…` : total || "–";
    });

    for (const row of body.rows) show(row);
    undo.hidden = false;
  }

  document.addEventListener("DOMContentLoaded", () => {
    document.querySelectorAll("[data-rows]").forEach(prepare);
  });
})();
