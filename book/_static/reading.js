// Reading aids: definitions at hand, progress and guesses that the browser remembers, an error
// report that quotes, and a key for the search. Without this file, the page is the same but for them.
import { rememberGuesses } from "./reading/guesses.js";
import { rememberProgress } from "./reading/progress.js";
import { quoteInReports } from "./reading/report.js";
import { searchByKey } from "./reading/shortcut.js";
import { showDefinitions } from "./reading/terms.js";

rememberProgress();
rememberGuesses();
showDefinitions();
quoteInReports();
searchByKey();
