// Mouse, keys and controls.

const KEYS = {
  ArrowUp: () => step(state.plane, 1),
  ArrowDown: () => step(state.plane, -1),
  PageUp: () => step(state.plane, 10),
  PageDown: () => step(state.plane, -10),
  Home: () => step(state.plane, -Infinity),
  End: () => step(state.plane, Infinity),
  a: () => toPlane("axial"),
  c: () => toPlane("coronal"),
  s: () => toPlane("sagittal"),
  n: () => toReference(1),
  p: () => toReference(-1),
  w: nextWindow,
  o: () => setOverlay(OVERLAYS[(OVERLAYS.indexOf(state.overlay) + 1) % OVERLAYS.length]),
  "+": () => setOpacity(state.opacity + 0.1),
  "-": () => setOpacity(state.opacity - 0.1),
  x: () => setCross(!state.cross),
  e: () => enlarge(state.plane),
};

function onKey(event) {
  if (event.ctrlKey || event.metaKey || event.altKey || event.target.matches("input[type=number], select")) return;
  const named = event.key.length > 1;
  if (named && !event.target.matches("canvas")) return; // elsewhere, arrows scroll the page or move a slider
  const action = KEYS[named ? event.key : event.key.toLowerCase()];
  if (!action) return;
  event.preventDefault();
  action();
}

function onPoint(view, event) {
  const box = view.canvas.getBoundingClientRect();
  const { scale, left, top } = placement(view);
  const ratio = view.canvas.width / box.width;
  const shares = [((event.clientX - box.left) * ratio - left) / (view.mm[0] * scale), ((event.clientY - box.top) * ratio - top) / (view.mm[1] * scale)];
  if (view.plane.down === 0) shares[1] = 1 - shares[1];
  moveTo(view.plane.across, Math.floor(shares[0] * data.shape[view.plane.across]));
  moveTo(view.plane.down, Math.floor(shares[1] * data.shape[view.plane.down]));
}

function wireView(name, view) {
  let turned = 0; // of the wheel, until it makes a slice
  view.canvas.addEventListener("wheel", (event) => {
    if (event.ctrlKey) return; // the browser's zoom
    event.preventDefault();
    turned += event.deltaMode ? event.deltaY * 40 : event.deltaY;
    const slices = Math.trunc(turned / 40);
    turned -= slices * 40;
    step(name, -Math.sign(slices) * Math.min(Math.abs(slices), 3));
  }, { passive: false });
  view.canvas.addEventListener("pointerdown", (event) => {
    view.canvas.setPointerCapture(event.pointerId);
    onPoint(view, event);
  });
  view.canvas.addEventListener("pointermove", (event) => event.buttons && onPoint(view, event));
  view.canvas.addEventListener("focus", () => select(name));
  view.slider.addEventListener("input", () => moveTo(view.plane.through, Number(view.slider.value)));
  view.figure.querySelector(".enlarge").addEventListener("click", () => enlarge(name));
  new ResizeObserver(draw).observe(view.canvas);
}

// A box for each organ, and one for all of them.
function wireOrgans() {
  const boxes = data.organs.map((organ) => [organ, document.createElement("input")]);
  const all = document.createElement("input");
  all.addEventListener("change", () => boxes.forEach(([, box]) => box.checked !== all.checked && box.click()));
  byId("shown").append(label(all, "all", ""));
  for (const [organ, box] of boxes) {
    box.addEventListener("change", () => setShown(organ.class, box.checked));
    byId("shown").append(label(box, organ.title, organ.colour));
  }
}

function label(box, text, colour) {
  Object.assign(box, { type: "checkbox", checked: true });
  const element = document.createElement("label");
  element.append(box);
  if (colour) {
    const swatch = Object.assign(document.createElement("span"), { className: "swatch" });
    swatch.style.background = colour;
    element.append(swatch);
  }
  element.append(text);
  return element;
}

// A low volume leaves room beside the axial view for the two others, one above the other.
function arrange() {
  const tall = views.coronal.mm[1] * 2 > views.axial.mm[1] * 1.2;
  byId("views").classList.toggle("flat", !tall);
  byId("views").style.setProperty("--columns", Object.values(views).map((view) => `${view.mm[0]}fr`).join(" "));
}

function wire() {
  Object.entries(views).forEach(([name, view]) => wireView(name, view));
  arrange();
  wireOrgans();
  byId("window").append(...data.windows.map(({ name, level, width }, i) => new Option(`${name} ${level}/${width}`, i)), new Option("custom", ""));
  byId("window").addEventListener("change", (event) => {
    const chosen = data.windows[event.target.value];
    if (event.target.value !== "") setWindow(chosen.level, chosen.width);
  });
  for (const id of ["level", "width"]) {
    byId(id).addEventListener("change", () => setWindow(Number(byId("level").value), Math.max(1, Number(byId("width").value))));
  }
  byId("overlay").addEventListener("change", (event) => setOverlay(event.target.value));
  byId("opacity").addEventListener("input", (event) => setOpacity(event.target.value / 100));
  byId("cross").addEventListener("change", (event) => setCross(event.target.checked));
  byId("previous").addEventListener("click", () => toReference(-1));
  byId("next").addEventListener("click", () => toReference(1));
  byId("previous").disabled = byId("next").disabled = data.references.length === 0;
  document.addEventListener("keydown", onKey);
  document.querySelectorAll(".go").forEach((button) => button.addEventListener("click", () => toOrgan(Number(button.value))));
  document.querySelectorAll(".profile svg").forEach((plot) => plot.addEventListener("click", (event) => {
    const box = plot.getBoundingClientRect();
    const z = (event.clientX - box.left) / box.width * plot.viewBox.baseVal.width - 0.5;
    const nearest = data.depth.reduce((best, depth, i) => Math.abs(depth - z) < Math.abs(data.depth[best] - z) ? i : best, 0);
    moveTo(0, nearest);
    look();
  }));
  setWindow(state.level, state.width);
  views.axial.canvas.focus({ preventScroll: true });
}

wire();
decode().catch((error) => notify(`The slices cannot be shown (${error.message}).`));
