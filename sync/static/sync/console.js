// The console's updates. A button pauses them, a hidden page skips them, and a failed request shows a warning.
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

  // Open <details> stay open after an update.
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
