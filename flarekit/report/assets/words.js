// What is said of the place the planes go through.

function describe() {
  const mm = position(state.at);
  for (const [name, view] of Object.entries(views)) {
    const index = state.at[view.plane.through];
    const place = patient(mm, 2 - view.plane.through);
    const number = name === "axial" ? data.slices[index] : index;
    const text = `${name === "axial" ? "slice" : "cut"} ${number}, ${place}`;
    view.where.textContent = text;
    view.slider.value = index;
    view.slider.setAttribute("aria-valuetext", text);
    view.canvas.setAttribute("aria-label", `${name} view, ${text}; arrow keys change the slice`);
    view.figure.classList.toggle("active", name === state.plane);
    view.figure.classList.toggle("reference", name === "axial" && data.references.includes(index));
  }
  const voxel = state.at.reduce((sum, index, axis) => sum + index * STRIDES[axis], 0);
  const organ = data.organs.find((entry) => entry.class === classes[voxel]);
  const places = [0, 1, 2].map((axis) => patient(mm, axis)).join(", ");
  byId("cursor").textContent = `Cross: ${places} · about ${data.hu[voxels[voxel]]} HU · ${organ ? organ.title : "no organ"}`;
  for (const line of document.querySelectorAll(".profile .cursor")) {
    const z = data.depth[state.at[0]] + 0.5;
    line.setAttribute("x1", z);
    line.setAttribute("x2", z);
  }
}

// RAS+ mm of a voxel.
function position(at) {
  return data.affine.map((row) => row[0] * at[0] + row[1] * at[1] + row[2] * at[2] + row[3]);
}

function patient(mm, axis) {
  return `${DIRECTIONS[axis][mm[axis] >= 0 ? 0 : 1]} ${Math.abs(mm[axis]).toFixed(1)} mm`;
}
