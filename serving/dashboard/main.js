// The page of whoever is on duty: what stands where, and what keeps it fresh.

import { refreshBaseline } from "./baseline.js";
import { draw as drawEvent, heardOfEvent, panel as eventPanel, refreshEvent, startEvents } from "./events.js";
import { checkTotals } from "./freshness.js";
import { attempt, every, listen } from "./live.js";
import { showSession, startLogin } from "./login.js";
import { drawTypesAgain, heardOfNetwork, networkPanel, refreshNetwork, refreshTypes, typesPanel } from "./network.js";
import { byId, ZONE } from "./page.js";
import { Panel } from "./panels.js";
import { PowerChart } from "./power.js";
import { startRoutes } from "./route.js";
import { onTheme, startTheme } from "./theme.js";
import { OneVen } from "./ven.js";
import { Vens } from "./vens.js";

startLogin();
const ven = new OneVen();
const vens = new Vens((venId) => attempt(() => ven.open(venId)));
const network = new PowerChart(
  { chart: byId("history-chart"), caption: byId("history-caption"), ranges: byId("history-ranges"), table: byId("history-table") },
  "Power of the network",
  new Panel(byId("history"), 60),
);
startEvents();
onTheme(() => {
  network.draw();
  ven.power.draw();
  drawTypesAgain();
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
    refreshEvent(), refreshTypes(), vens.refresh(), network.show("/api/stats/network/history"), checkAge(),
    attempt(refreshBaseline), attempt(showSession),
  ]);
}

refreshAll().then(() => {
  listen(
    {
      network: heardOfNetwork,
      status: (transition) => vens.showStatus(transition.venId, transition.status),
      event: heardOfEvent,
      reset: refreshAll,
    },
    refreshEvent,
  );
  const named = /^#ven=(.+)$/.exec(location.hash);
  if (named) attempt(() => ven.open(decodeURIComponent(named[1])));
});

every(1, drawEvent);
every(5, refreshEvent);
every(10, refreshNetwork);
every(10, refreshTypes);
every(10, () => vens.refresh());
every(10, () => ven.refresh());
every(10, checkAge);
every(30, refreshBaseline);
every(60, () => network.refresh());
every(10, () => network.panel.isFresh || network.refresh());
every(60, () => ven.power.refresh());
every(60, showSession);
