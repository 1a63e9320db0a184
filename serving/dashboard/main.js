// The page of whoever is on duty: what stands where, and what keeps it fresh.

import { Alarms } from "./alarms.js";
import { Audit } from "./audit.js";
import { refreshBaseline } from "./baseline.js";
import { resizeCharts } from "./charts.js";
import { EventForm } from "./event-form.js";
import { EventList } from "./event-list.js";
import { EventPage } from "./event-page.js";
import { draw as drawEvent, heardOfEvent, panel as eventPanel, refreshEvent, start, startEvents } from "./events.js";
import { Forecast } from "./forecast.js";
import { checkTotals } from "./freshness.js";
import { readGroups } from "./group-names.js";
import { Groups } from "./groups.js";
import { attempt, every, listen } from "./live.js";
import { showSession, startLogin } from "./login.js";
import { drawTypesAgain, heardOfNetwork, networkPanel, refreshNetwork, refreshTypes, typesPanel } from "./network.js";
import { byId, markScrolling, ZONE } from "./page.js";
import { Panel } from "./panels.js";
import { drawPlacesAgain } from "./places.js";
import { PowerChart } from "./power.js";
import { go, isShown, onRoute, startRoutes } from "./route.js";
import { onTheme, startTheme } from "./theme.js";
import { VenPage } from "./ven.js";
import { Vens } from "./vens.js";

startLogin();
const venPage = new VenPage();
const vens = new Vens();
const groups = new Groups();
const network = new PowerChart(
  { chart: byId("history-chart"), caption: byId("history-caption"), ranges: byId("history-ranges"), table: byId("history-table") },
  "Power of the network",
  new Panel(byId("history"), 60),
  { isShown: () => isShown("overview"), typesPath: "/api/loads/history?by=type" },
);
const forecast = new Forecast();
const alarms = new Alarms();
const audit = new Audit();
const eventList = new EventList();
const eventPage = new EventPage();
new EventForm(byId("event-new"), "Show what it would do", async (body) => {
  const made = await start(body);
  if (made) go("events", made.id);
});
startEvents();
onRoute(({ view, id, params }) => {
  if (view === "events") attempt(() => (id === null ? eventList.open() : eventPage.open(id)));
  if (view === "vens") attempt(() => (id === null ? vens.open() : venPage.open(id, params)));
  if (view === "overview") attempt(() => Promise.all([network.show("/api/stats/network/history"), forecast.refresh()]));
  if (view === "alarms") attempt(() => alarms.open(params));
  if (view === "audit") attempt(() => audit.refresh());
  if (view === "groups") attempt(() => groups.refresh());
  resizeCharts();
});
onTheme(() => {
  forecast.draw();
  network.draw();
  venPage.power.draw();
  drawTypesAgain();
  eventPage.draw();
  drawPlacesAgain(vens.found);
});
startTheme();
startRoutes();
byId("zone").textContent = ZONE;
byId("skip").addEventListener("click", (clicked) => {
  clicked.preventDefault(); // the hash belongs to the view
  byId("main").focus();
});

const checkAge = () => checkTotals([networkPanel, eventPanel, typesPanel, vens.panel]);

async function refreshAll() {
  await refreshNetwork();
  await Promise.all([
    refreshEvent(), refreshTypes(), vens.refresh(), venPage.refresh(), network.refresh(), forecast.refresh(), checkAge(),
    attempt(refreshBaseline), attempt(readGroups), attempt(showSession), attempt(() => alarms.refresh()),
  ]);
}

refreshAll().then(() => {
  listen(
    {
      network: heardOfNetwork,
      status: (transition) => vens.showStatus(transition.venId, transition.status),
      event: (event) => Promise.all([heardOfEvent(event), eventList.refresh(), eventPage.heardOfEvent(event)]),
      alarm: () => attempt(() => alarms.refresh()),
      reset: refreshAll,
    },
    refreshEvent,
  );
});

every(1, drawEvent);
every(1, markScrolling);
every(5, refreshEvent);
every(5, () => eventPage.refresh());
every(30, () => eventPage.refreshDelivery());
every(10, () => eventList.refresh());
every(10, refreshNetwork);
every(10, () => isShown("overview") && refreshTypes());
every(10, () => vens.refresh());
every(10, () => venPage.refresh());
every(10, () => groups.refresh());
every(10, () => alarms.refresh());
every(30, () => audit.refresh());
every(10, checkAge);
every(30, refreshBaseline);
every(30, readGroups);
every(60, () => network.refresh());
every(10, () => network.panel.isFresh || network.refresh());
every(60, () => venPage.isShown && venPage.power.refresh());
every(60, showSession);
every(120, () => forecast.refresh());
every(10, () => forecast.panel.isFresh || forecast.refresh());
