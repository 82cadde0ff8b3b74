// Buttons for passkeys, where the browser knows them. allauth's scripts do the rest, and report what fails.
(() => {
  "use strict";
  document.addEventListener("DOMContentLoaded", () => {
    if (!window.PublicKeyCredential) return;
    for (const part of document.querySelectorAll("[data-passkey]")) part.hidden = false;
  });
  document.addEventListener("allauth.error", (event) => {
    event.preventDefault();
    const message = document.getElementById("passkey-error");
    if (message) message.hidden = false;
  });
})();
