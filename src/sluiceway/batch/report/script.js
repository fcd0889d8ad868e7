"use strict";
(async () => {
  const packed = document.getElementById("plotly").textContent.trim();
  const charts = [...document.querySelectorAll("script[data-chart]")].map((holder) => ({
    place: document.getElementById(holder.dataset.chart),
    figure: holder.textContent,
  }));
  if (!charts.length) { document.body.dataset.ready = "0"; return; }
  try {
    const bytes = Uint8Array.from(atob(packed), (letter) => letter.charCodeAt(0));
    const plain = new Blob([bytes]).stream().pipeThrough(new DecompressionStream("gzip"));
    const script = document.createElement("script");
    script.textContent = await new Response(plain).text();
    document.head.append(script);
  } catch (error) {
    for (const { place } of charts) place.textContent = "This browser is too old for the charts; the tables are below.";
    return;
  }
  const color = (name) => getComputedStyle(document.documentElement).getPropertyValue(name).trim();
  const draw = () => {
    const ink = color("--ink"), muted = color("--muted"), line = color("--line");
    const axis = {
      gridcolor: line, linecolor: line, zerolinecolor: line, tickfont: { color: muted }, ticks: "", automargin: true,
    };
    for (const { place, figure } of charts) {
      // The figure names its colours by number: each scheme has its own of them.
      const coloured = figure.replaceAll("#000001", color("--first")).replaceAll("#000002", color("--second"))
        .replaceAll("#000003", color("--limit")).replaceAll("#000004", color("--surface"));
      const { data, layout } = JSON.parse(coloured);
      const several = data.filter((trace) => trace.name).length > 1;
      const title = (given) => given ? { ...given, font: { color: muted, size: 12 }, standoff: 8 } : undefined;
      const bars = layout.meta && layout.meta.rows;
      if (bars) place.style.height = `${Math.max(110, 46 + 34 * bars)}px`;
      Plotly.react(place, data, {
        ...layout,
        paper_bgcolor: "rgba(0,0,0,0)", plot_bgcolor: "rgba(0,0,0,0)",
        font: { family: "system-ui, sans-serif", size: 12, color: ink },
        margin: { l: 8, r: 12, t: several ? 30 : 12, b: 8 },
        showlegend: several, legend: { orientation: "h", x: 0, y: 1.02, yanchor: "bottom", font: { color: ink } },
        hoverlabel: { bgcolor: color("--surface"), bordercolor: line, font: { color: ink } },
        xaxis: { ...axis, ...layout.xaxis, showgrid: Boolean(bars), title: title(layout.xaxis && layout.xaxis.title) },
        yaxis: { ...axis, ...layout.yaxis, showgrid: !bars, title: title(layout.yaxis && layout.yaxis.title) },
      }, { displayModeBar: false, responsive: true });
    }
  };
  draw();
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", draw);
  document.body.dataset.ready = String(charts.length);
})();
