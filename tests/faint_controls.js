// The fields of a page whose edge has too little contrast with what is around them: less than WCAG 1.4.11's 3:1.
() => {
  const CONTRAST = 3;
  const FIELDS = "input:not([type=hidden], [type=file], [type=submit], [type=range]), select, textarea";

  const canvas = document.createElement("canvas").getContext("2d", { willReadFrequently: true });
  const pixel = (colour) => {
    canvas.clearRect(0, 0, 1, 1);
    canvas.fillStyle = colour;
    canvas.fillRect(0, 0, 1, 1);
    return [...canvas.getImageData(0, 0, 1, 1).data];
  };

  const over = (above, below) => {
    const share = above[3] / 255;
    return [0, 1, 2].map((i) => above[i] * share + below[i] * (1 - share));
  };

  const background = (element) => {
    if (!element) return [255, 255, 255];
    const own = pixel(getComputedStyle(element).backgroundColor);
    return own[3] === 255 ? own.slice(0, 3) : over(own, background(element.parentElement));
  };

  const luminance = (colour) => {
    const [red, green, blue] = colour.map((each) => {
      const share = each / 255;
      return share <= 0.04045 ? share / 12.92 : ((share + 0.055) / 1.055) ** 2.4;
    });
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue;
  };

  const contrast = (one, other) => {
    const [dark, bright] = [luminance(one), luminance(other)].sort((a, b) => a - b);
    return (bright + 0.05) / (dark + 0.05);
  };

  // A field is also seen by its own colour, like a box that is checked.
  const seen = (field) => {
    const around = background(field.parentElement);
    const edge = over(pixel(getComputedStyle(field).borderBottomColor), around);
    return Math.max(contrast(edge, around), contrast(background(field), around));
  };

  return [...document.querySelectorAll(FIELDS)]
    .filter((field) => !field.disabled && field.checkVisibility({ visibilityProperty: true }))
    .filter((field) => field.getBoundingClientRect().width > 1 && seen(field) < CONTRAST)
    .map((field) => `${seen(field).toFixed(1)} ${field.outerHTML.replace(/\s+/g, " ").slice(0, 100)}`);
}
