// The theme: light, dark or as the system ("auto"). It is set before the first paint, and kept in the browser only,
// under the name and in the words that the admin uses, so that one choice holds in both.
(() => {
  "use strict";
  const KEY = "theme";
  const systemIsDark = window.matchMedia("(prefers-color-scheme: dark)");

  function read() {
    try {
      return localStorage.getItem(KEY) || "auto";
    } catch {
      return "auto"; // Storage can be switched off; the system's theme then serves.
    }
  }

  function write(choice) {
    try {
      localStorage.setItem(KEY, choice);
    } catch {
      // The choice then holds for this page only.
    }
  }

  function apply(choice) {
    const dark = choice === "dark" || (choice === "auto" && systemIsDark.matches);
    document.documentElement.dataset.bsTheme = dark ? "dark" : "light";
    for (const button of document.querySelectorAll("[data-theme-choice]")) {
      const chosen = button.dataset.themeChoice === choice;
      button.classList.toggle("active", chosen);
      button.setAttribute("aria-pressed", String(chosen));
    }
  }

  // Paper is light.
  window.addEventListener("beforeprint", () => apply("light"));
  window.addEventListener("afterprint", () => apply(read()));
  apply(read());
  systemIsDark.addEventListener("change", () => apply(read()));
  document.addEventListener("DOMContentLoaded", () => apply(read()));
  document.addEventListener("click", (event) => {
    const button = event.target.closest("[data-theme-choice]");
    if (button) {
      write(button.dataset.themeChoice);
      apply(button.dataset.themeChoice);
    }
  });
})();
