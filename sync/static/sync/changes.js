// The checkbox that selects all changes on the page. It stays hidden without JavaScript.
(() => {
  "use strict";
  const all = document.getElementById("select-all");
  if (!all) {
    return;
  }
  all.hidden = false;
  all.addEventListener("change", (event) => {
    for (const box of document.querySelectorAll("#order [name=change]")) {
      box.checked = event.target.checked;
    }
  });
})();
