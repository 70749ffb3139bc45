// Asks the browser for its camera, shows what it sees for two seconds, lets go of it, and says which one answered.
// No picture leaves the browser.

const SHOWN = 2000; // milliseconds
const PATIENCE = 8000; // milliseconds until the first picture
const STATES = {
  NotAllowedError: "refused",
  SecurityError: "refused",
  NotFoundError: "none",
  OverconstrainedError: "none",
};
const cameras = new WeakMap();

export default function camera({ parentElement, setTriggerValue }) {
  let leave = cameras.get(parentElement);
  if (!leave) {
    leave = ask(parentElement, (answer) => setTriggerValue("answer", answer));
    cameras.set(parentElement, leave);
  }
  return leave;
}

function ask(root, tell) {
  const video = root.querySelector("video");
  let stream = null;
  let timer = null;
  let left = false;

  function leave() {
    left = true;
    clearTimeout(timer);
    stop();
  }

  function stop() {
    stream?.getTracks().forEach((track) => track.stop());
    video.srcObject = null;
  }

  function answer(found) {
    stop();
    if (!left) tell(found);
  }

  async function look() {
    const [track] = await open();
    if (left) return stop();
    video.hidden = false;
    video.srcObject = stream;
    // Another program that has the camera may leave this one without a picture.
    timer = setTimeout(() => answer({ state: "busy" }), PATIENCE);
    await video.play();
    clearTimeout(timer);
    root.querySelector("p").textContent = track.label;
    const found = { state: "works", label: track.label, width: video.videoWidth, height: video.videoHeight };
    timer = setTimeout(() => answer(found), SHOWN);
  }

  async function open() {
    stream = await navigator.mediaDevices.getUserMedia({ video: { facingMode: "environment" }, audio: false });
    return stream.getVideoTracks();
  }

  if (!window.isSecureContext || !navigator.mediaDevices) {
    tell({ state: "insecure" });
  } else {
    look().catch((error) => {
      clearTimeout(timer);
      const state = STATES[error.name] ?? "busy";
      answer({ state: state === "refused" && framed() ? "framed" : state });
    });
  }
  return leave;
}

// Whether the page stands in the frame of another one that gives it no camera; only some browsers know.
function framed() {
  return document.featurePolicy?.allowsFeature("camera") === false;
}
