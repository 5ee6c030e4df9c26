// The three pictures, with organs, cross and sides.

let asked = false;
function draw() {
  if (asked) return;
  asked = true;
  requestAnimationFrame(() => {
    asked = false;
    for (const view of Object.values(views)) drawView(view);
    describe();
  });
}

function drawView(view) {
  paint(view);
  view.context.putImageData(view.image, 0, 0);
  const { canvas } = view;
  const ratio = window.devicePixelRatio || 1;
  canvas.width = Math.round(canvas.clientWidth * ratio);
  canvas.height = Math.round(canvas.clientHeight * ratio);
  const context = canvas.getContext("2d");
  const { scale, left, top } = placement(view);
  context.imageSmoothingQuality = "high";
  context.drawImage(view.picture, left, top, view.mm[0] * scale, view.mm[1] * scale);
  if (state.cross) drawCross(view, context);
  drawSides(view, context);
}

// Where the picture lies on its canvas: canvas pixels a mm, and its corner.
function placement({ canvas, mm }) {
  const scale = Math.min(canvas.width / mm[0], canvas.height / mm[1]);
  return { scale, left: (canvas.width - mm[0] * scale) / 2, top: (canvas.height - mm[1] * scale) / 2 };
}

function paint({ plane, image }) {
  const [grey, shown] = [greys(), palette()];
  const rows = rowsOf(plane, image.height);
  const across = STRIDES[plane.across];
  const { width, height, data: out } = image;
  for (let y = 0, o = 0; y < height; y++) {
    const { low, high, share, nearest } = rows[y];
    const above = rows[Math.max(y - 1, 0)].nearest;
    const below = rows[Math.min(y + 1, height - 1)].nearest;
    for (let x = 0, i = 0; x < width; x++, i += across, o += 4) {
      const value = grey[voxels[low + i]] * (1 - share) + grey[voxels[high + i]] * share;
      const own = classes[nearest + i];
      const colour = shown[own];
      let opacity = 0;
      if (colour) {
        const left = classes[nearest + Math.max(x - 1, 0) * across];
        const right = classes[nearest + Math.min(x + 1, width - 1) * across];
        const edge = left !== own || right !== own || classes[above + i] !== own || classes[below + i] !== own;
        opacity = edge ? EDGE : state.overlay === "filled" ? state.opacity : 0;
      }
      for (let channel = 0; channel < 3; channel++) {
        out[o + channel] = opacity ? value + (colour[channel] - value) * opacity : value;
      }
      out[o + 3] = 255;
    }
  }
}

// Where each row of pixels lies in the volume: grey levels are interpolated between two rows of voxels.
function rowsOf({ through, down }, height) {
  const start = state.at[through] * STRIDES[through];
  const size = data.shape[down];
  const offset = (index) => start + Math.max(0, Math.min(size - 1, index)) * STRIDES[down];
  return Array.from({ length: height }, (_, y) => {
    const place = ((down === 0 ? height - 1 - y : y) + 0.5) * size / height - 0.5;
    const low = Math.floor(place);
    return { low: offset(low), high: offset(low + 1), share: place - low, nearest: offset(Math.round(place)) };
  });
}

// The brightness of each level in the present window.
function greys() {
  return data.hu.map((hu) => Math.max(0, Math.min(255, ((hu - state.level) / state.width + 0.5) * 255)));
}

// The colour of each class that is shown.
function palette() {
  const colours = new Array(256).fill(null);
  if (state.overlay === "hidden") return colours;
  for (const organ of data.organs) {
    if (!state.off.has(organ.class)) colours[organ.class] = [1, 3, 5].map((i) => parseInt(organ.colour.slice(i, i + 2), 16));
  }
  return colours;
}

function drawCross(view, context) {
  const { scale, left, top } = placement(view);
  const [x, y] = crossOf(view);
  context.strokeStyle = "rgba(255, 255, 255, 0.35)";
  context.beginPath();
  context.moveTo(left + x * view.mm[0] * scale, top);
  context.lineTo(left + x * view.mm[0] * scale, top + view.mm[1] * scale);
  context.moveTo(left, top + y * view.mm[1] * scale);
  context.lineTo(left + view.mm[0] * scale, top + y * view.mm[1] * scale);
  context.stroke();
}

// The present voxel in a view, as shares of its width and height.
function crossOf({ plane }) {
  const [x, y] = [plane.across, plane.down].map((axis) => (state.at[axis] + 0.5) / data.shape[axis]);
  return [x, plane.down === 0 ? 1 - y : y];
}

function drawSides({ canvas, plane }, context) {
  const size = Math.round(14 * (window.devicePixelRatio || 1));
  const [middle, centre, margin] = [canvas.width / 2, canvas.height / 2, size * 0.8];
  context.font = `600 ${size}px system-ui, sans-serif`;
  context.textAlign = "center";
  context.textBaseline = "middle";
  context.lineWidth = 3;
  const places = { left: [margin, centre], right: [canvas.width - margin, centre], top: [middle, margin], bottom: [middle, canvas.height - margin] };
  for (const [side, [x, y]] of Object.entries(places)) {
    context.strokeStyle = "#000";
    context.strokeText(plane.sides[side], x, y);
    context.fillStyle = "#fff";
    context.fillText(plane.sides[side], x, y);
  }
}
