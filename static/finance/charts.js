// Draws the charts of a page: <canvas data-chart="id of its json_script">. Colours are those of the style sheet, in
// both themes, and on paper those of the light one. A click on a bar opens the records behind it. Without this script
// the tables below the charts say the same, with the same links.
(() => {
  "use strict";
  const charts = [];
  const language = document.documentElement.lang || "en";
  const short = new Intl.NumberFormat(language, { notation: "compact", maximumFractionDigits: 1 });
  const long = new Intl.NumberFormat(language, { maximumFractionDigits: 2 });

  function colour(name) {
    return getComputedStyle(document.documentElement).getPropertyValue(name).trim();
  }

  function paint(chart) {
    const text = colour("--bs-secondary-color");
    const grid = colour("--bs-border-color");
    chart.data.datasets.forEach((dataset, index) => {
      const full = colour(`--chart-${index + 1}`);
      const pale = `color-mix(in srgb, ${full} 40%, transparent)`;
      dataset.backgroundColor = dataset.partial.map((isPartial) => (isPartial ? pale : full));
      dataset.borderColor = full;
    });
    for (const scale of Object.values(chart.options.scales)) {
      scale.ticks.color = text;
      scale.grid.color = grid;
      scale.border = { color: grid };
    }
    chart.options.plugins.legend.labels.color = text;
  }

  // The address behind the bar at an event, or "" if there is none.
  function target(chart, data, event) {
    const [hit] = chart.getElementsAtEventForMode(event, "nearest", { intersect: true }, false);
    const url = hit ? data.urls[hit.index] : "";
    if (!url) return "";
    const narrows = data.series[hit.datasetIndex].narrows;
    return narrows ? `${url}${url.includes("?") ? "&" : "?"}${narrows}` : url;
  }

  function draw(canvas) {
    const data = JSON.parse(document.getElementById(canvas.dataset.chart).textContent);
    const lying = data.shape === "names";
    const value = { stacked: true, beginAtZero: true, ticks: { callback: (number) => short.format(number) }, grid: {} };
    const label = { stacked: true, ticks: { maxRotation: 0, autoSkip: !lying }, grid: { display: false } };
    const chart = new Chart(canvas, {
      type: "bar",
      data: {
        labels: data.labels,
        datasets: data.series.map((series) => ({
          label: series.label,
          data: series.values,
          partial: data.partial,
          borderRadius: 3,
          borderWidth: data.partial.map((isPartial) => (isPartial ? 1 : 0)),
          maxBarThickness: 36,
        })),
      },
      options: {
        animation: false,
        maintainAspectRatio: false,
        indexAxis: lying ? "y" : "x",
        interaction: { mode: "index", axis: lying ? "y" : "x", intersect: false },
        scales: lying ? { x: value, y: label } : { x: label, y: value },
        onHover: (event, _hit, chart) => {
          canvas.style.cursor = target(chart, data, event) ? "pointer" : "";
        },
        onClick: (event, _hit, chart) => {
          const url = target(chart, data, event);
          if (url) window.location.assign(url);
        },
        plugins: {
          legend: { display: data.series.length > 1, labels: { boxWidth: 12, boxHeight: 12 } },
          tooltip: {
            callbacks: {
              label: (item) =>
                `${item.dataset.label}: ${long.format(lying ? item.parsed.x : item.parsed.y)} ${data.unit}`.trim(),
            },
          },
        },
      },
    });
    paint(chart);
    chart.update();
    charts.push(chart);
  }

  function repaint() {
    for (const chart of charts) {
      paint(chart);
      chart.resize();
      chart.update();
    }
  }

  document.addEventListener("DOMContentLoaded", () => {
    document.querySelectorAll("canvas[data-chart]").forEach(draw);
    for (const button of document.querySelectorAll("[data-print]")) {
      button.hidden = false;
      button.addEventListener("click", () => window.print());
    }
  });
  // The observer would repaint too late for paper, for which site.js has just chosen the light theme.
  window.addEventListener("beforeprint", repaint);
  window.addEventListener("afterprint", repaint);
  new MutationObserver(repaint).observe(document.documentElement, { attributeFilter: ["data-bs-theme"] });
})();
