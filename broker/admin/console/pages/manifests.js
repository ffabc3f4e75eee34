// Manifests: what runs and where it is declared, what is doubtful, and why a change was refused.

import { poll } from "../api.js";
import { badge, count, empty, h, heading, href, notice, table } from "../ui.js";

export const title = "Manifests";

const EVERY = 2; // seconds
const CLUSTER = "the cluster";

/** @param {HTMLElement} root @param {URLSearchParams} query @param {AbortSignal} signal */
export async function show(root, query, signal) {
  const search = h("input", {
    type: "search",
    value: query.get("q") ?? "",
    placeholder: "Kind, name or file",
    "aria-label": "Search the objects",
    oninput: draw,
  });
  const about = h("span", { role: "status" });
  const problems = h("div", { class: "page" });
  const grid = table({
    label: "The objects that run",
    columns: [
      { name: "kind", title: "Kind", width: "8rem", by: (row) => row.kind, cell: (row) => row.kind },
      {
        name: "name",
        title: "Name",
        by: (row) => row.name,
        cell: (row) => h("span", { title: row.name }, row.name),
      },
      {
        name: "place",
        title: "Declared in",
        by: place,
        cell: (row) => h("span", { class: "mono", title: place(row) }, nearby(row)),
      },
    ],
    rows: [],
    key: (row) => `${row.kind} ${row.name}`,
    onOpen: (row) => {
      if (LEADS[row.kind]) location.hash = LEADS[row.kind](row.name);
    },
    none: empty("No such object", "The manifests that run have none of that kind, name or file."),
  });
  const trouble = h("div");
  root.append(heading("Manifests", about, search), trouble, problems, grid);
  let objects = [];
  let folder = ""; // which all files are in
  await poll("/api/v1/manifests", EVERY, keep, signal, (error) =>
    trouble.replaceChildren(notice("bad", error.message)),
  );

  function keep(told) {
    trouble.replaceChildren();
    objects = told.objects;
    folder = common(objects.map((each) => each.file).filter(Boolean));
    // In files a change is taken up whole or not at all; in a cluster each object is for itself.
    const leftOut = told.problems.filter((each) => each.file === null && each.subject);
    const inFiles = told.problems.filter((each) => !leftOut.includes(each));
    const refused = [
      inFiles.length ? refusal(inFiles) : null,
      leftOut.length ? outsiders(leftOut) : null,
    ].filter(Boolean);
    const doubtful = told.warnings.length ? [doubts(told.warnings)] : [];
    problems.replaceChildren(...refused, ...doubtful);
    draw();
  }

  function nearby(row) {
    return row.file === null ? place(row) : place(row).slice(folder.length);
  }

  function draw() {
    const words = search.value.toLowerCase().split(/\s+/).filter(Boolean);
    const found = objects.filter((each) =>
      words.every((word) => `${each.kind} ${each.name} ${each.file ?? CLUSTER}`.toLowerCase().includes(word)),
    );
    const files = new Set(objects.map((each) => each.file).filter(Boolean)).size;
    const where = [
      files ? `${count(files)} ${files === 1 ? "file" : "files"}` : null,
      objects.some((each) => each.file === null) ? CLUSTER : null,
    ].filter(Boolean);
    about.textContent = `${count(objects.length)} objects in ${where.join(" and ") || "no file"}`;
    grid.update(found);
  }
}

/** The folder that all these files are in, with the slash at its end. @param {string[]} files */
function common(files) {
  const [first = "", ...others] = files.map((each) => each.slice(0, each.lastIndexOf("/") + 1));
  return others.reduce((folder, each) => {
    while (!each.startsWith(folder)) folder = folder.slice(0, folder.slice(0, -1).lastIndexOf("/") + 1);
    return folder;
  }, first);
}

function place({ file, line }) {
  return file === null ? CLUSTER : `${file}:${line}`;
}

const LEADS = {
  Broker: (name) => href("events", { view: "live", broker: name }),
  Trigger: (name) => href("trigger", { name }),
};

function refusal(problems) {
  const errors = problems.filter((each) => each.severity === "error");
  return h(
    "section",
    { class: "card", "aria-label": "The last change was refused" },
    notice(
      "bad",
      h("strong", null, "The last change was refused."),
      " What runs is what the files said before. Mend them, and it is taken up at once.",
    ),
    list(errors),
    errors.length < problems.length ? list(problems.filter((each) => each.severity !== "error")) : null,
  );
}

function outsiders(problems) {
  return h(
    "section",
    { class: "card", "aria-label": "What is not as it should be" },
    notice(
      "bad",
      h("strong", null, "Not all is as it should be."),
      " What ran before goes on as it was then, and so does all that is not named here.",
    ),
    list(problems),
  );
}

function doubts(warnings) {
  return h(
    "section",
    { class: "card", "aria-label": "What is doubtful" },
    h(
      "h2",
      null,
      `${count(warnings.length)} ${warnings.length === 1 ? "warning" : "warnings"} about what runs`,
    ),
    list(warnings),
  );
}

/** @param {any[]} problems */
function list(problems) {
  return h(
    "ul",
    { class: "problems" },
    problems.map((each) =>
      h(
        "li",
        null,
        h(
          "p",
          { class: "bar" },
          badge(each.severity, each.severity === "error" ? "bad" : "warn"),
          each.file ? h("code", null, each.line === null ? each.file : `${each.file}:${each.line}`) : null,
          h("strong", null, each.subject),
          each.path ? h("code", null, each.path) : null,
        ),
        h("p", { class: "said" }, each.message),
      ),
    ),
  );
}
