// Draws the charts of a page: <canvas data-chart="id of its json_script">. Colours are those of the style sheet, in
// both themes. Without this script the tables below the charts say the same.
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
      dataset.backgroundColor = colour(`--chart-${index + 1}`);
    });
    for (const scale of Object.values(chart.options.scales)) {
      scale.ticks.color = text;
      scale.grid.color = grid;
      scale.border = { color: grid };
    }
    chart.options.plugins.legend.labels.color = text;
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
          borderRadius: 3,
          maxBarThickness: 36,
        })),
      },
      options: {
        animation: false,
        maintainAspectRatio: false,
        indexAxis: lying ? "y" : "x",
        interaction: { mode: "index", axis: lying ? "y" : "x", intersect: false },
        scales: lying ? { x: value, y: label } : { x: label, y: value },
        plugins: {
          legend: { display: data.series.length > 1, labels: { boxWidth: 12, boxHeight: 12 } },
          tooltip: {
            callbacks: {
              label: (item) => `${item.dataset.label}: ${long.format(lying ? item.parsed.x : item.parsed.y)}`,
            },
          },
        },
      },
    });
    paint(chart);
    chart.update();
    charts.push(chart);
  }

  document.addEventListener("DOMContentLoaded", () => {
    document.querySelectorAll("canvas[data-chart]").forEach(draw);
  });
  new MutationObserver(() => {
    for (const chart of charts) {
      paint(chart);
      chart.update();
    }
  }).observe(document.documentElement, { attributeFilter: ["data-bs-theme"] });
})();
