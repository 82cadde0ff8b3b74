// Passkeys. A form with data-passkey="create" or "get" asks the browser for a credential and sends it. The options are
// in the element that data-passkey-options names; without it they are fetched from the form's address.
(() => {
  "use strict";
  const OPTIONS = { create: "creation_options", get: "request_options" };

  async function optionsOf(form) {
    const here = document.getElementById(form.dataset.passkeyOptions);
    if (here) {
      return JSON.parse(here.textContent);
    }
    const response = await fetch(form.action, { headers: { Accept: "application/json" } });
    if (!response.ok) {
      throw new Error(`HTTP ${response.status}`);
    }
    return response.json();
  }

  async function use(form) {
    const kind = form.dataset.passkey;
    const error = form.querySelector("[data-passkey-error]");
    const button = form.querySelector("[type=submit]");
    error.hidden = true;
    button.disabled = true;
    try {
      const options = await optionsOf(form);
      const credential = await window.webauthnJSON[kind](options[OPTIONS[kind]]);
      form.elements.credential.value = JSON.stringify(credential);
      form.submit();
    } catch {
      error.hidden = false; // The user cancelled, the device has no passkey for this site, or the server is unreachable.
      button.disabled = false;
      button.focus();
    }
  }

  const works = Boolean(window.PublicKeyCredential && window.webauthnJSON);
  for (const form of document.querySelectorAll("form[data-passkey]")) {
    form.hidden = !works;
    form.addEventListener("submit", (event) => {
      event.preventDefault();
      use(form);
    });
  }
  for (const element of document.querySelectorAll("[data-passkey-missing]")) {
    element.hidden = works;
  }
})();
