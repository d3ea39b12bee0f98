import type { Task } from "../task.ts"
import { blimp } from "./blimp.ts"
import { commonWords } from "./common_words.ts"
import { fairytaleQa } from "./fairytale_qa.ts"
import { mrcrFile, rulerFile } from "./files.ts"
import { frequentWords } from "./frequent_words.ts"
import { idk } from "./idk.ts"
import { lambada } from "./lambada.ts"
import { latentList } from "./latent_list.ts"
import { MRCR_TASKS } from "./mrcr.ts"
import { NIAH_TASKS } from "./niah.ts"
import { perplexity } from "./perplexity.ts"
import { positionLoss } from "./position_loss.ts"
import { variableTracking } from "./variable_tracking.ts"

/** All tasks, in the order in which they are listed. */
export const TASKS: readonly Task[] = [
  ...NIAH_TASKS,
  variableTracking,
  commonWords,
  frequentWords,
  latentList,
  idk,
  ...MRCR_TASKS,
  positionLoss,
  perplexity,
  blimp,
  lambada,
  fairytaleQa,
  rulerFile,
  mrcrFile,
]
