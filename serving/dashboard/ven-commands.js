// The commands to one VEN, with what has become of each, and what it has answered.

import { get, getPage } from "./api.js";
import { byId, element, number, showTable, statusMark, time } from "./page.js";
import { Panel } from "./panels.js";
import { linkTo } from "./route.js";
import { exactMoment } from "./times.js";

const MOST = 50;
const at = (key) => (row) => time(row[key], exactMoment(row[key]));
const eventOf = (row) => (row.eventId ? element("a", { href: linkTo("events", row.eventId) }, row.eventId) : "–");

const COMMANDS = [
  { title: "Command", cell: (command) => command.op },
  { title: "Load", cell: (command) => command.loadId ?? "–" },
  { title: "Event", cell: eventOf },
  { title: "Status", cell: (command) => statusMark(command.status) },
  { title: "Created", cell: at("createdAt") },
  { title: "Answered", cell: at("acknowledgedAt") },
  { title: "Telemetry shows it since", cell: at("executedAt") },
  { title: "Attempts", cell: (command) => command.attempts, isNumber: true },
  { title: "Why not", cell: (command) => command.error ?? refusal(command) },
];
const ANSWERS = [
  { title: "Answered", cell: at("timestamp") },
  { title: "To", cell: (answer) => answer.op },
  { title: "Event", cell: eventOf },
  { title: "Answer", cell: (answer) => statusMark(answer.status) },
  { title: "Asked, kW (as sent)", cell: (answer) => number(answer.requestedShedKw), isNumber: true },
  { title: "Would shed, kW (reported by the VEN)", cell: (answer) => number(answer.actualShedKw), isNumber: true },
];

/** What a VEN said of why it does not obey. */
function refusal({ status, acknowledgement }) {
  if (status !== "rejected") return "–";
  const words = acknowledgement?.data?.error ?? acknowledgement?.error ?? acknowledgement?.reason;
  return typeof words === "string" ? words : "rejected without a word";
}

export class VenCommands {
  constructor() {
    this.panel = new Panel(byId("ven-commands"), 10);
    this.answers = new Panel(byId("ven-answers"), 10);
  }

  forget(path) {
    this.path = path;
    this.panel.forget();
    this.answers.forget();
  }

  refresh() {
    const path = this.path;
    return Promise.all([
      this.panel.ask(async () => {
        const { entries } = await getPage(`${path}/commands?limit=${MOST}`);
        if (path === this.path) showTable(byId("ven-commands-table"), COMMANDS, entries, `The newest ${MOST} commands`, "No command has been sent to this VEN.");
      }),
      this.answers.ask(async () => {
        const answers = await get(`${path}/events?limit=${MOST}`);
        if (path === this.path) showTable(byId("ven-answers-table"), ANSWERS, answers, `The newest ${MOST} answers`, "This VEN has not answered any command.");
      }),
    ]);
  }
}
