// The slides of a run. Once they are drawn, nothing here asks the server for anything: keys and buttons go on without it.
// What a user typed comes in `data` and is put into the page as text, never as HTML.

const FORWARD = new Set(["ArrowRight", "PageDown", " "]);
const BACK = new Set(["ArrowLeft", "PageUp"]);
const SWIPE = 40; // pixels
const decks = new WeakMap();

export default function present({ data, parentElement }) {
  let deck = decks.get(parentElement);
  if (!deck) {
    deck = makeDeck(parentElement);
    decks.set(parentElement, deck);
  }
  deck.draw(data);
  return deck.leave;
}

function makeDeck(root) {
  const find = (name) => root.querySelector(`.${name}`);
  const dialog = find("deck");
  const stage = find("stage");
  const whole = find("whole");
  const slides = find("slides");
  let drawn = null;
  let current = 0;

  function draw(data) {
    // A rerun brings the same slides again, perhaps in the middle of the talk.
    const now = JSON.stringify(data);
    if (now === drawn) return;
    drawn = now;
    find("name").textContent = data.name;
    find("contents").replaceChildren(...data.slides.map(entry));
    slides.replaceChildren(...data.slides.map(section));
    show(Math.min(current, data.slides.length - 1));
  }

  function show(wanted) {
    const all = [...slides.children];
    current = Math.max(0, Math.min(wanted, all.length - 1));
    all.forEach((slide, index) => {
      slide.hidden = index !== current;
    });
    all[current].scrollTop = 0;
    find("number").textContent = `${current + 1} / ${all.length}`;
    find("before").setAttribute("aria-disabled", String(current === 0));
    find("after").setAttribute("aria-disabled", String(current === all.length - 1));
    const title = all[current].querySelector("h2").textContent;
    find("spoken").textContent = `Slide ${current + 1} of ${all.length}: ${title}`;
  }

  // On the window, and before anyone else: the connection's own messages must not take the keys away.
  function pressed(event) {
    if (!dialog.open || event.ctrlKey || event.altKey || event.metaKey) return;
    const button = event.key === " " && event.composedPath()[0].closest?.("button");
    if (button) return; // a space presses the button that has the focus
    if (event.key === " " && event.shiftKey) show(current - 1);
    else if (FORWARD.has(event.key)) show(current + 1);
    else if (BACK.has(event.key)) show(current - 1);
    else if (event.key === "Home") show(0);
    else if (event.key === "End") show(slides.children.length - 1);
    // The play button of a clicker sends F5; without a network, a reload would end the talk.
    else if (event.key !== "F5") return;
    event.preventDefault();
    event.stopPropagation();
  }

  function entry(slide, index) {
    const made = element("li");
    const button = element("button", slide.title);
    button.type = "button";
    button.onclick = () => begin(index);
    made.append(button);
    return made;
  }

  // Streamlit's message that its server is gone takes the click that follows a touch outside of it.
  function touched(event) {
    if (dialog.open && event.composedPath().includes(dialog)) event.stopPropagation();
  }

  // One finger that goes sideways turns the slide. Up and down it scrolls; two fingers enlarge, and one then moves what is enlarged.
  function swiped() {
    let from = null;
    stage.ontouchstart = ({ touches: [finger, another] }) => {
      from = another || window.visualViewport?.scale > 1 ? null : [finger.clientX, finger.clientY];
    };
    stage.ontouchend = ({ changedTouches: [finger] }) => {
      if (!from) return;
      const [across, along] = [finger.clientX - from[0], finger.clientY - from[1]];
      from = null;
      if (Math.abs(across) > Math.max(SWIPE, 2 * Math.abs(along))) show(current - Math.sign(across));
    };
  }

  function begin(at) {
    show(at);
    dialog.showModal();
    stage.focus();
    fill();
  }

  const isWhole = () => root.fullscreenElement === stage;

  function fill() {
    // It stays in the window where the browser has no full screen, or does not allow it here.
    stage.requestFullscreen?.().catch(() => labelled());
  }

  function labelled() {
    whole.textContent = isWhole() ? "Leave full screen" : "Full screen";
  }

  whole.hidden = !stage.requestFullscreen || !document.fullscreenEnabled;
  stage.tabIndex = -1;
  stage.onfullscreenchange = labelled;
  whole.onclick = () => (isWhole() ? document.exitFullscreen() : fill());
  find("start").onclick = () => begin(0);
  find("end").onclick = () => dialog.close();
  dialog.onclose = () => isWhole() && document.exitFullscreen();
  find("before").onclick = () => show(current - 1);
  find("after").onclick = () => show(current + 1);
  // A button that was clicked lets go of the focus, or a space would press it again instead of turning the slide.
  find("bar").onclick = (event) => event.detail && stage.focus();
  swiped();
  window.addEventListener("keydown", pressed, true);
  window.addEventListener("pointerdown", touched, true);

  function leave() {
    window.removeEventListener("keydown", pressed, true);
    window.removeEventListener("pointerdown", touched, true);
    decks.delete(root);
  }

  return { draw, leave };
}

function element(tag, text, ...classes) {
  const made = document.createElement(tag);
  if (text !== undefined && text !== null) made.textContent = text;
  made.classList.add(...classes);
  return made;
}

function section(slide, index) {
  const made = element("section", null, slide.kind);
  const title = element("h2");
  title.id = `title-${index}`;
  if (slide.figure) title.append(element("strong", slide.figure), " ");
  title.append(slide.figure ? slide.title.slice(slide.figure.length).trim() : slide.title);
  made.setAttribute("aria-labelledby", title.id);
  made.tabIndex = 0; // where a slide is longer than the screen, arrows up and down scroll it
  made.append(title, ...BODIES[slide.kind](slide));
  if (slide.note) made.append(element("p", slide.note, "note"));
  return made;
}

const BODIES = {
  outcome: (slide) => slide.lines.map((line) => element("p", line)),
  pictures: (slide) => [pictures(slide)],
  matrix: (slide) => [matrix(slide)],
  pairs: (slide) => [list("ol", slide.pairs.map(pair))],
  limits: (slide) => [list("ul", slide.limits.map(limit))],
};

function list(tag, items) {
  const made = element(tag);
  made.append(...items);
  return made;
}

function pictures(slide) {
  const made = list("ul", slide.pictures.map(picture));
  const count = slide.pictures.length;
  made.classList.toggle("row", count <= 5);
  made.style.setProperty("--across", String(count > 5 ? Math.ceil(count / 2) : Math.max(3, count)));
  return made;
}

function picture({ source, tiny, right, alt, answer, detail }) {
  const made = element("li", null, right ? "right" : "wrong");
  const image = element("img", null, ...(tiny ? ["tiny"] : []));
  image.src = source;
  image.alt = alt;
  const said = element("p", null, "said");
  said.append(sign(right), ` ${answer}`);
  const words = element("div");
  words.append(said, element("p", detail, "detail"));
  made.append(image, words);
  return made;
}

function sign(right) {
  const made = element("span", right ? "✓" : "✗", "sign");
  made.setAttribute("aria-hidden", "true");
  return made;
}

function matrix({ classes, counts }) {
  const made = element("table", null, ...headed(classes));
  made.style.setProperty("--classes", classes.length);
  made.append(element("caption", "Rows: what it was. Columns: what it said. On the diagonal it was right."));
  const head = element("tr");
  head.append(element("td"), ...classes.map((name, index) => heading(name, index, "col")));
  made.append(head);
  counts.forEach((row, truth) => {
    const line = element("tr");
    const all = Math.max(1, row.reduce((sum, count) => sum + count, 0));
    line.append(heading(classes[truth], truth, "row"));
    row.forEach((count, said) => {
      const cell = element("td", count ? String(count) : "", truth === said ? "right" : "wrong");
      if (count) cell.style.setProperty("--share", String(count / all));
      else cell.classList.add("none");
      line.append(cell);
    });
    made.append(line);
  });
  return made;
}

// Names that are too long for their columns stand there as numbers: of many classes everywhere, of several on a phone.
function headed(classes) {
  if (classes.every((name) => name.length <= 3)) return [];
  return classes.length > 6 ? ["many", "several"] : ["several"];
}

function heading(name, index, scope) {
  const made = element("th");
  made.scope = scope;
  made.append(element("span", String(index + 1), "short"), " ", element("span", name, "long"));
  return made;
}

function pair({ was, said, count, of }) {
  const made = element("li");
  const words = element("p");
  words.append(element("b", was), " called ", element("b", said));
  const bar = element("span", null, "bar-of");
  bar.style.setProperty("--share", String(count / of));
  made.append(words, bar, element("p", `${count} of its ${of}`, "detail"));
  return made;
}

function limit({ title, text }) {
  const made = element("li");
  made.append(element("b", title), " ", element("span", text));
  return made;
}
