"use strict";

const stage = document.getElementById("stage");
const status = document.getElementById("status");
const sides = ["left", "right"];
const figures = Object.fromEntries(sides.map((side) => [side, document.getElementById(side)]));
const face = document.getElementById("face");
const zoom = document.getElementById("zoom");

/** The question on the page, or null while there is none; a vote is sent once. */
let question = null;

function isPressed(button) {
  return button.getAttribute("aria-pressed") === "true";
}

function press(button, pressed) {
  button.setAttribute("aria-pressed", String(pressed));
}

/** Show one CSS pixel for each pixel of the result, or two. */
function resize() {
  if (question === null) return;
  const factor = isPressed(zoom) ? 2 : 1;
  for (const side of sides) {
    const image = figures[side].querySelector("img");
    image.width = factor * question.width;
    image.height = factor * question.height;
  }
}

async function load() {
  let next;
  try {
    next = await (await fetch("/api/question")).json();
  } catch {
    status.textContent = "The server has stopped; every vote has been saved.";
    return;
  }
  const count = next.votes === 1 ? "1 vote" : `${next.votes} votes`;
  if (next.status !== "question") {
    stage.hidden = true;
    if (next.status === "done") {
      status.textContent = `${count}; every pair has been rated.`;
    } else {
      status.textContent = `${count}; preparing pictures`;
      setTimeout(load, 500);
    }
    return;
  }
  for (const side of sides) {
    figures[side].querySelector("img").src = `/api/question/${next.id}/${side}.png`;
  }
  // Both results appear at once: an order of loading would favor one side.
  try {
    await Promise.all(sides.map((side) => figures[side].querySelector("img").decode()));
  } catch {
    setTimeout(load, 500);
    return;
  }
  question = next;
  press(face, false);
  resize();
  stage.hidden = false;
  stage.dataset.question = next.id;
  status.textContent = count;
}

async function vote(answer) {
  if (question === null) return;
  const voted = question;
  question = null;
  let done;
  try {
    done = await fetch("/api/vote", {
      method: "POST",
      headers: { "Content-Type": "application/json" },
      body: JSON.stringify({ id: voted.id, vote: answer, face: isPressed(face) }),
    });
  } catch {
    status.textContent = "The server has stopped; this vote is not saved, the others are.";
    return;
  }
  if (done.status >= 500) {
    question = voted;
    status.textContent = "The vote cannot be saved; see the message in the terminal.";
    return;
  }
  await load();
}

/** Show the results in one place, the other one each time. */
function toggle() {
  stage.classList.add("place");
  const shown = figures.left.classList.contains("shown") ? "right" : "left";
  for (const side of sides) figures[side].classList.toggle("shown", side === shown);
  status.textContent = shown === "left" ? "Left" : "Right";
}

function sideBySide() {
  stage.classList.remove("place");
  for (const side of sides) figures[side].classList.remove("shown");
}

const keys = {
  ArrowLeft: () => vote("left"),
  ArrowRight: () => vote("right"),
  ArrowDown: () => vote("same"),
  " ": toggle,
  b: sideBySide,
  z: () => { press(zoom, !isPressed(zoom)); resize(); },
  f: () => press(face, !isPressed(face)),
};

document.addEventListener("keydown", (event) => {
  const act = keys[event.key.length === 1 ? event.key.toLowerCase() : event.key];
  if (act === undefined || event.ctrlKey || event.altKey || event.metaKey) return;
  event.preventDefault();
  if (!event.repeat) act();
});
for (const button of document.querySelectorAll("[data-vote]")) {
  button.addEventListener("click", () => vote(button.dataset.vote));
}
document.getElementById("toggle").addEventListener("click", toggle);
zoom.addEventListener("click", keys.z);
face.addEventListener("click", keys.f);

load();
