// The links, buttons and fields of a page that are smaller than 24 CSS pixels and not in a line of text.
() => {
  const SIZE = 24;
  const TARGETS = "a[href], button, input:not([type=hidden]), select, textarea, summary";

  // What a press reaches: a checkbox also by its labels, and a stretched link by the card that it covers.
  const boxes = (target) => {
    const parts = [target, ...(/^(checkbox|radio)$/.test(target.type) ? target.labels : [])];
    if (target.matches(".stretched-link")) {
      parts.push(target.offsetParent);
    }
    return parts.map((part) => part.getBoundingClientRect());
  };

  const size = (target) => {
    const all = boxes(target);
    const extent = (from, to) => Math.max(...all.map((box) => box[to])) - Math.min(...all.map((box) => box[from]));
    return { width: extent("left", "right"), height: extent("top", "bottom") };
  };

  const isShown = (target) => {
    const box = target.getBoundingClientRect();
    return target.checkVisibility({ visibilityProperty: true }) && box.bottom > 0 && box.width > 1;
  };

  // Whether words that are not part of a target are on the same line.
  const isInText = (target) => {
    let block = target.parentElement;
    while (getComputedStyle(block).display === "inline") {
      block = block.parentElement;
    }
    const line = target.getBoundingClientRect();
    const words = document.createTreeWalker(block, NodeFilter.SHOW_TEXT);
    while (words.nextNode()) {
      const node = words.currentNode;
      if (/\p{L}{2}/u.test(node.data) && !node.parentElement.closest(TARGETS)) {
        const range = document.createRange();
        range.selectNodeContents(node);
        if ([...range.getClientRects()].some((box) => box.width > 1 && box.top < line.bottom && box.bottom > line.top)) {
          return true;
        }
      }
    }
    return false;
  };

  return [...document.querySelectorAll(TARGETS)]
    .filter(isShown)
    .filter((target) => Math.min(...Object.values(size(target))) < SIZE - 0.01)
    .filter((target) => getComputedStyle(target).display !== "inline" || !isInText(target))
    .map((target) => target.outerHTML.replace(/\s+/g, " ").slice(0, 120));
}
