// Changes of the state, by whatever means they are asked for.

function moveTo(axis, index) {
  state.at[axis] = Math.max(0, Math.min(data.shape[axis] - 1, index));
  draw();
}

function step(name, by) {
  const axis = PLANES[name].through;
  moveTo(axis, state.at[axis] + by);
}

function select(name) {
  state.plane = name;
  draw();
}

// The keys go to a view, which takes the place of an enlarged one.
function toPlane(name) {
  const alone = byId("views").classList.contains("one");
  if (alone && !views[name].figure.classList.contains("large")) enlarge(name);
  views[name].canvas.focus();
}

function toReference(direction) {
  const ahead = data.references.filter((z) => (z - state.at[0]) * direction > 0);
  if (ahead.length) moveTo(0, direction > 0 ? Math.min(...ahead) : Math.max(...ahead));
}

// Back to the views, from a table or plot below them.
function look() {
  byId("views").scrollIntoView({ block: "nearest" });
  draw();
}

// To the middle of the slice that shows most of an organ.
function toOrgan(wanted) {
  let best = 0;
  for (let z = 0; z < data.shape[0]; z++) {
    let [count, rows, columns] = [0, 0, 0];
    for (let i = 0; i < STRIDES[0]; i++) {
      if (classes[z * STRIDES[0] + i] !== wanted) continue;
      count += 1;
      rows += Math.floor(i / STRIDES[1]);
      columns += i % STRIDES[1];
    }
    if (count > best) {
      best = count;
      state.at = [z, Math.round(rows / count), Math.round(columns / count)];
    }
  }
  look();
}

function enlarge(name) {
  const { figure } = views[name];
  const large = !figure.classList.contains("large");
  for (const view of Object.values(views)) {
    const here = large && view.figure === figure;
    view.figure.classList.toggle("large", here);
    view.figure.querySelector(".enlarge").setAttribute("aria-pressed", here);
    view.figure.querySelector(".enlarge").textContent = here ? "All views" : "Enlarge";
  }
  byId("views").classList.toggle("one", large);
  if (large) figure.scrollIntoView({ block: "nearest" });
  select(name);
}

function setWindow(level, width) {
  [state.level, state.width] = [level, width];
  [byId("level").value, byId("width").value] = [level, width];
  const preset = data.windows.findIndex((entry) => entry.level === level && entry.width === width);
  byId("window").value = preset < 0 ? "" : preset;
  draw();
}

function setOpacity(share) {
  state.opacity = Math.max(0, Math.min(1, share));
  byId("opacity").value = Math.round(100 * state.opacity);
  draw();
}

function setOverlay(overlay) {
  state.overlay = byId("overlay").value = overlay;
  draw();
}

function setShown(organ, shown) {
  state.off[shown ? "delete" : "add"](organ);
  draw();
}

function setCross(shown) {
  state.cross = byId("cross").checked = shown;
  draw();
}

function nextWindow() {
  const { level, width } = data.windows[(Number(byId("window").value || -1) + 1) % data.windows.length];
  setWindow(level, width);
}
