// A fleet from a CSV file: what it would change is shown first, or which lines are wrong.

import { postCsv, Refused } from "./api.js";
import { ask } from "./dialogs.js";
import { byId, count, element, showTable } from "./page.js";

const PATH = "/api/vens/import";
const PROBLEMS = [
  { title: "Line", cell: (problem) => count(problem.line), isNumber: true },
  { title: "Column", cell: (problem) => problem.field || "–" },
  { title: "What is wrong", cell: (problem) => element("span", { class: "wrap" }, problem.detail) },
];

export class VensImport {
  /** @param {() => Promise<void>} onImport called when VENs have changed */
  constructor(onImport) {
    this.onImport = onImport;
    this.form = byId("vens-import-form");
    this.form.addEventListener("submit", (submitted) => {
      submitted.preventDefault();
      this.attempt();
    });
  }

  async attempt() {
    this.tell("", []);
    try {
      await this.check(await this.form.elements.file.files[0].text());
    } catch (error) {
      if (!(error instanceof Refused)) throw error;
      this.tell(error.message, []);
    }
  }

  async check(text) {
    const preview = await postCsv(`${PATH}?dryRun=1`, text);
    if (preview.problemCount > 0) {
      const more = preview.problemCount > preview.problems.length ? ` The first ${count(preview.problems.length)}:` : "";
      this.tell(`${count(preview.problemCount)} of ${count(preview.rows + preview.problemCount)} lines are wrong, so nothing can be imported.${more}`, preview.problems);
      return;
    }
    const isDone = await ask({ title: "Import this file?", body: describe(preview), action: "Import", does: () => postCsv(PATH, text) });
    if (!isDone) return;
    this.form.reset();
    await this.onImport();
  }

  tell(message, problems) {
    byId("vens-import-message").textContent = message;
    const place = byId("vens-import-problems");
    place.hidden = problems.length === 0;
    showTable(place, PROBLEMS, problems, "Wrong lines", "");
  }
}

function describe({ created, restored, changed, unchanged }) {
  const parts = [[created, "new"], [restored, "brought back"], [changed, "changed"], [unchanged, "as they are already"]];
  const named = parts.filter(([size]) => size > 0).map(([size, what]) => `${count(size)} ${what}`);
  return [
    element("p", {}, named.length ? `VENs: ${named.join(", ")}.` : "The file has no VEN."),
    element("p", {}, "VENs that are not in the file stay as they are."),
  ];
}
