// Chooses the square part of a picture before it is uploaded. Without this script, the portal takes the middle.
(() => {
  "use strict";

  function asFile(canvas) {
    const bytes = atob(canvas.toDataURL("image/png").split(",")[1]);
    return new File([Uint8Array.from(bytes, (byte) => byte.charCodeAt(0))], "picture.png", { type: "image/png" });
  }

  function prepare(crop) {
    const input = document.getElementById(crop.dataset.crop);
    const canvas = crop.querySelector("canvas");
    const pen = canvas.getContext("2d");
    const [zoom, across, down] = ["zoom", "across", "down"].map((name) => crop.querySelector(`[data-${name}]`));
    let picture = null;
    let held = null; // where the pointer holds the picture

    // The part in pixels of the picture: the length of its sides, and how far it can move.
    function part() {
      const side = Math.min(picture.width, picture.height) / Number(zoom.value);
      return { side, room: [picture.width - side, picture.height - side] };
    }

    function draw() {
      const { side, room } = part();
      [across, down].forEach((slider, axis) => { slider.disabled = room[axis] < 1; });
      pen.imageSmoothingQuality = "high";
      pen.clearRect(0, 0, canvas.width, canvas.height);
      pen.drawImage(
        picture, room[0] * across.value, room[1] * down.value, side, side, 0, 0, canvas.width, canvas.height,
      );
    }

    async function open() {
      picture = null;
      const file = input.files[0];
      try {
        const opened = file && (await createImageBitmap(file));
        if (file !== input.files[0]) return; // another one was chosen meanwhile
        picture = opened || null;
      } catch {
        // Not a picture that the browser can read: the portal says so when the form is sent.
      }
      crop.hidden = picture === null;
      if (picture === null) return;
      zoom.value = 1;
      across.value = down.value = 0.5;
      draw();
    }

    function drag(event) {
      if (picture === null || !canvas.hasPointerCapture(event.pointerId)) return;
      const { side, room } = part();
      const scale = side / canvas.clientWidth;
      if (room[0] >= 1) across.value -= ((event.clientX - held.clientX) * scale) / room[0];
      if (room[1] >= 1) down.value -= ((event.clientY - held.clientY) * scale) / room[1];
      held = event;
      draw();
    }

    input.addEventListener("change", open);
    for (const slider of [zoom, across, down]) slider.addEventListener("input", draw);
    canvas.addEventListener("pointerdown", (event) => {
      held = event;
      canvas.setPointerCapture(event.pointerId);
    });
    canvas.addEventListener("pointermove", drag);
    input.form.addEventListener("submit", () => {
      if (picture === null) return;
      const chosen = new DataTransfer();
      chosen.items.add(asFile(canvas));
      input.files = chosen.files;
    });
  }

  document.addEventListener("DOMContentLoaded", () => {
    for (const crop of document.querySelectorAll("[data-crop]")) prepare(crop);
  });
})();
