// A button beside each password field shows what was typed. Without this script, the fields have no button.
(() => {
  "use strict";

  function show(input, button, shown) {
    input.type = shown ? "text" : "password";
    button.setAttribute("aria-pressed", String(shown));
  }

  function add(input, template) {
    const group = template.content.firstElementChild.cloneNode(true);
    const button = group.querySelector("button");
    const focused = document.activeElement === input;
    group.classList.toggle("is-invalid", input.classList.contains("is-invalid")); // the error stands beside the group
    input.replaceWith(group);
    group.prepend(input);
    if (focused) input.focus();
    // A password stays a secret while it is shown: no correction, and no spelling checker of another company.
    input.spellcheck = false;
    input.autocapitalize = "off";
    button.setAttribute("aria-controls", input.id);
    button.addEventListener("click", () => show(input, button, input.type === "password"));
    // Hidden again when the form is sent, so that the browser neither offers it as text nor shows it on the way back.
    input.form?.addEventListener("submit", () => show(input, button, false));
  }

  document.addEventListener("DOMContentLoaded", () => {
    const template = document.getElementById("show-password");
    for (const input of document.querySelectorAll("main input[type=password]")) add(input, template);
  });
})();
