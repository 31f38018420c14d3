/** The page: four tabs over one service. */

import { showSettings, tryAccess } from "./access.js";
import { showGallery } from "./gallery.js";
import { showStatistics } from "./statistics.js";
import { onOpen, openAddressed } from "./tabs.js";

onOpen("gallery", showGallery);
onOpen("statistics", showStatistics);
onOpen("settings", showSettings);
openAddressed();
tryAccess();
