// The frame around the pages: which one is shown, the navigation, the theme, the keyboard.

import { begin, follow } from "./status.js";
import { h, href, notice } from "./ui.js";

/** Pages of the navigation, each with the key that leads there after "g". */
const PLACES = [
  { name: "overview", title: "Overview", key: "o" },
  { name: "triggers", title: "Triggers", key: "t", also: ["trigger"] },
  { name: "events", title: "Events", key: "e", also: ["story"] },
  { name: "deadletters", title: "Dead letters", key: "d" },
  { name: "send", title: "Send an event", key: "s" },
  { name: "manifests", title: "Manifests", key: "m" },
];
const PAGES = new Set(PLACES.flatMap((each) => [each.name, ...(each.also ?? [])]));

const main = document.getElementById("main");
const nav = document.getElementById("nav");
let leaving = new AbortController();

/** Show the page that the address names. */
async function route() {
  const [, name, search] = /^#?\/?([^?]*)\??(.*)$/.exec(location.hash);
  const page = name || "overview";
  leaving.abort();
  leaving = new AbortController();
  const { signal } = leaving;
  failed = false;
  mark(page);
  const root = h("div", { class: `page ${PAGES.has(page) ? page : ""}` });
  main.replaceChildren(root);
  if (!PAGES.has(page)) {
    document.title = "Not found · cemesh";
    root.append(
      notice("warn", "There is no such page. ", h("a", { href: href("overview") }, "To the overview")),
    );
    return;
  }
  try {
    const module = await import(`./pages/${page}.js`);
    if (signal.aborted) return;
    document.title = `${module.title} · cemesh`;
    if (moved) main.focus({ preventScroll: true });
    window.scrollTo(0, 0);
    await module.show(root, new URLSearchParams(search), signal);
  } catch (error) {
    if (signal.aborted) return;
    failed = true;
    root.append(notice("bad", error.message));
  }
}

let moved = false;
let failed = false; // the page that is shown

function mark(page) {
  const here = PLACES.find((each) => each.name === page || each.also?.includes(page));
  for (const each of nav.children) {
    if (each.dataset.page === here?.name) each.setAttribute("aria-current", "page");
    else each.removeAttribute("aria-current");
  }
}

// --- the navigation and what it says of the mesh -------------------------------------------

nav.append(
  ...PLACES.map((each) =>
    h(
      "a",
      { href: href(each.name), "data-page": each.name, title: `g ${each.key}` },
      h("span", null, each.title),
      h("span", { class: "many" }),
    ),
  ),
);

/** Put a number, or nothing, beside a page of the navigation. */
function tell(page, text, kind) {
  const place = nav.querySelector(`[data-page="${page}"] .many`);
  place.textContent = text;
  place.className = `many ${kind}`;
}

function told(status) {
  const triggers = status.brokers.flatMap((each) => each.triggers);
  const stopped = triggers.filter((each) => each.state === "paused").length;
  const unavailable = status.brokers.filter((each) => each.unavailable);
  tell("triggers", stopped ? `${stopped} paused` : "", "warn");
  tell("manifests", status.problems.length ? `${status.problems.length}` : "", "bad");
  const health = document.getElementById("health");
  const words = unavailable.length ? `${unavailable[0].name} takes no events` : "Takes events";
  if (health.textContent !== words) health.textContent = words;
  health.className = `health ${unavailable.length ? "bad" : "good"}`;
}

window.addEventListener("connection", ({ detail }) => {
  const banner = document.getElementById("connection");
  banner.hidden = detail === null;
  banner.textContent = detail ?? "";
  document.getElementById("health").hidden = detail !== null;
  if (detail === null && failed) route();
});

// --- the theme -----------------------------------------------------------------------------

const THEMES = [null, "light", "dark"];
const toggle = document.getElementById("theme");

function showTheme() {
  const chosen = document.documentElement.dataset.theme;
  toggle.textContent = `Theme: ${chosen ?? "system"}`;
}

toggle.addEventListener("click", () => {
  const root = document.documentElement;
  const next = THEMES[(THEMES.indexOf(root.dataset.theme ?? null) + 1) % THEMES.length];
  if (next) root.dataset.theme = next;
  else delete root.dataset.theme;
  try {
    if (next) localStorage.setItem("cemesh.theme", next);
    else localStorage.removeItem("cemesh.theme");
  } catch {
    // A browser that stores nothing: it holds until the page is loaded again.
  }
  showTheme();
});
showTheme();

// --- the keyboard --------------------------------------------------------------------------

let after = 0; // when "g" was pressed

document.addEventListener("keydown", (event) => {
  const typing = event.target.closest("input, textarea, select, [contenteditable], dialog");
  if (typing || event.ctrlKey || event.metaKey || event.altKey) return;
  const place = PLACES.find((each) => each.key === event.key);
  if (place && Date.now() - after < 1500) {
    after = 0;
    location.hash = href(place.name);
  } else if (event.key === "g") {
    after = Date.now();
    return;
  } else if (event.key === "/") {
    const search = main.querySelector("input[type=search]");
    if (!search) return;
    search.focus();
  } else if (event.key === "?") {
    showKeys();
  } else {
    return;
  }
  event.preventDefault();
});

document.getElementById("keys").addEventListener("click", showKeys);

function showKeys() {
  const keys = [
    ...PLACES.map((each) => [["g", each.key], each.title]),
    [["/"], "Search on this page"],
    [["↑", "↓"], "Through the rows of a table"],
    [["Enter"], "Open a row"],
    [["Esc"], "Close what is open"],
  ];
  const dialog = h(
    "dialog",
    { class: "keys", "aria-label": "Keys", onclose: () => dialog.remove() },
    h("h2", null, "Keys"),
    h(
      "dl",
      null,
      keys.map(([pressed, does]) => [
        h(
          "dt",
          null,
          pressed.map((each) => h("kbd", null, each)),
        ),
        h("dd", null, does),
      ]),
    ),
    h("form", { method: "dialog", class: "actions" }, h("button", { autofocus: true }, "Close")),
  );
  document.body.append(dialog);
  dialog.showModal();
}

window.addEventListener("hashchange", () => {
  moved = true;
  route();
});
const always = new AbortController().signal;
begin(always);
follow(told, always);
route();
// So that the others are there even while the mesh is not.
for (const each of PAGES) import(`./pages/${each}.js`).catch(() => {});
