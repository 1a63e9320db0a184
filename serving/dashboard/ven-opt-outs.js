// The times at which one VEN is opted out of events.

import { get, post, remove } from "./api.js";
import { ask } from "./dialogs.js";
import { byId, element, showTable, time } from "./page.js";
import { Panel } from "./panels.js";
import { moment } from "./times.js";

export class VenOptOuts {
  constructor() {
    this.panel = new Panel(byId("ven-opt-outs"), 10);
    byId("ven-opt-out").addEventListener("click", () => this.add());
  }

  forget(path) {
    this.path = `${path}/opt-outs`;
    this.panel.forget();
  }

  refresh() {
    const path = this.path;
    return this.panel.ask(async () => {
      const optOuts = await get(path);
      if (path === this.path) showTable(byId("ven-opt-outs-table"), this.columns(), optOuts, "Opt-outs of the VEN", "No opt-outs.");
    });
  }

  columns() {
    return [
      { title: "From", cell: (optOut) => time(optOut.from, moment(optOut.from)) },
      { title: "To", cell: (optOut) => time(optOut.to, moment(optOut.to)) },
      { title: "Reason", cell: (optOut) => optOut.reason || "–" },
      { title: "Actions", cell: (optOut) => element("button", { type: "button", class: "link", onclick: () => this.remove(optOut) }, "Take back") },
    ];
  }

  async add() {
    await ask({
      title: "Opt this VEN out?", action: "Opt out",
      body: [element("p", {}, "No event asks it in that time; one that it takes part in then goes on without it.")],
      fields: [
        { name: "from", label: "From", kind: "time", isRequired: true, value: new Date().toISOString() },
        { name: "to", label: "Until", kind: "time", isRequired: true },
        { name: "reason", label: "Reason" },
      ],
      does: ({ reason, ...times }) => post(this.path, { ...times, ...(reason === null ? {} : { reason }) }),
    });
    await this.refresh();
  }

  async remove(optOut) {
    await ask({
      title: "Take this opt-out back?", action: "Take back", isDanger: true,
      body: [element("p", {}, `From ${moment(optOut.from)} to ${moment(optOut.to)}: events may ask the VEN again.`)],
      does: () => remove(`${this.path}/${encodeURIComponent(optOut.id)}`),
    });
    await this.refresh();
  }
}
