// From text to bytes: classes from runs, grey levels from JPEGs by way of a canvas.

async function decode() {
  data.mask.forEach((text, z) => readRuns(text, z * STRIDES[0]));
  const order = data.image.map((_, z) => z).sort((a, b) => Math.abs(a - state.at[0]) - Math.abs(b - state.at[0]));
  const scratch = document.createElement("canvas");
  [scratch.height, scratch.width] = [data.shape[1], data.shape[2]];
  const context = scratch.getContext("2d", { willReadFrequently: true });
  if (!keepsPixels(context)) {
    notify("This browser hides the pixels of canvases from pages (a protection against tracking). Allow it for this file, or open it in another browser.");
  }
  for (const [count, z] of order.entries()) {
    const image = new Image();
    image.src = "data:image/jpeg;base64," + data.image[z];
    await image.decode();
    context.drawImage(image, 0, 0);
    const pixels = context.getImageData(0, 0, scratch.width, scratch.height).data;
    for (let i = 0; i < STRIDES[0]; i++) voxels[z * STRIDES[0] + i] = pixels[4 * i];
    if (count % 16 === 0) draw();
  }
  draw();
  document.body.dataset.ready = "true";
}

function readRuns(text, start) {
  const bytes = Uint8Array.from(atob(text), (letter) => letter.charCodeAt(0));
  for (const run of new Uint32Array(bytes.buffer)) {
    const length = run & 0xffffff;
    classes.fill(run >>> 24, start, start + length);
    start += length;
  }
}

function keepsPixels(context) {
  context.fillStyle = "rgb(17, 130, 201)";
  context.fillRect(0, 0, 4, 4);
  return [...context.getImageData(0, 0, 4, 4).data].every((value, i) => value === [17, 130, 201, 255][i % 4]);
}

function notify(text) {
  byId("notice").textContent = text;
  byId("notice").hidden = false;
}
