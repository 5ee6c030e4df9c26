"use strict";
// The viewer: three planes through one volume of bytes, which is decoded once.
// Indices are (slice from the feet, row from the front, column from the patient's right), as in the report's data.

const data = JSON.parse(document.getElementById("case").textContent);
const byId = (id) => document.getElementById(id);
const STRIDES = [data.shape[1] * data.shape[2], data.shape[2], 1];
const voxels = new Uint8Array(data.shape[0] * STRIDES[0]); // grey levels, HU by data.hu
const classes = new Uint8Array(voxels.length);
const PLANES = {
  axial: { through: 0, down: 1, across: 2, sides: { left: "R", right: "L", top: "A", bottom: "P" } },
  coronal: { through: 1, down: 0, across: 2, sides: { left: "R", right: "L", top: "S", bottom: "I" } },
  sagittal: { through: 2, down: 0, across: 1, sides: { left: "A", right: "P", top: "S", bottom: "I" } },
};
const DIRECTIONS = [["R", "L"], ["A", "P"], ["S", "I"]]; // of positive and negative mm along x, y, z
const EDGE = 0.95; // opacity of outlines
const OVERLAYS = ["filled", "outlined", "hidden"];
const state = {
  at: data.start, // the voxel all planes go through
  plane: "axial", // which plane the keys move
  level: data.windows[0].level,
  width: data.windows[0].width,
  overlay: "filled",
  opacity: 0.38,
  cross: true,
  off: new Set(), // classes not shown
};
const views = Object.fromEntries([...document.querySelectorAll(".view")].map((figure) => [figure.dataset.plane, viewOf(figure)]));

function viewOf(figure) {
  const plane = PLANES[figure.dataset.plane];
  const mm = [plane.across, plane.down].map((axis) => data.shape[axis] * data.spacing_mm[axis]);
  const picture = document.createElement("canvas"); // with square pixels, a voxel wide
  picture.width = data.shape[plane.across];
  picture.height = Math.max(1, Math.round(mm[1] / data.spacing_mm[plane.across]));
  const context = picture.getContext("2d");
  const canvas = figure.querySelector("canvas");
  const view = { figure, plane, mm, picture, context, canvas, image: context.createImageData(picture.width, picture.height) };
  view.slider = figure.querySelector("input");
  view.slider.max = data.shape[plane.through] - 1;
  view.where = figure.querySelector(".where");
  canvas.style.aspectRatio = `${mm[0]} / ${mm[1]}`;
  return view;
}
