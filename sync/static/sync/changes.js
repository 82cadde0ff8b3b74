// A box that selects all changes that are shown. Without scripts it is not there.
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
