// The console's updates: a button pauses them, a hidden page does not ask, and a portal that does not answer is told.
(() => {
  "use strict";
  const button = document.getElementById("pause");
  const live = document.getElementById("live");
  const trouble = document.getElementById("live-trouble");
  let open = [];

  button.hidden = false;
  button.addEventListener("click", () => {
    button.setAttribute("aria-pressed", String(button.getAttribute("aria-pressed") !== "true"));
    button.classList.toggle("active");
  });

  live.addEventListener("htmx:beforeRequest", (event) => {
    if (document.hidden || button.getAttribute("aria-pressed") === "true") {
      event.preventDefault();
    }
  });

  // What was unfolded stays so.
  live.addEventListener("htmx:beforeSwap", () => {
    open = [...live.querySelectorAll("details[open]")].map((details) => details.id);
  });
  live.addEventListener("htmx:afterSwap", () => {
    for (const id of open) {
      document.getElementById(id)?.setAttribute("open", "");
    }
  });

  live.addEventListener("htmx:afterRequest", (event) => {
    trouble.hidden = event.detail.successful;
  });
})();
