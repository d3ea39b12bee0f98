export { evalData } from "./data.ts"
export { type Evaluated, type EvaluateOptions, evaluate, type Wanted } from "./evaluate.ts"
export { type ExampleOptions, examples } from "./examples.ts"
export { findTasks } from "./find_tasks.ts"
export { type EvalFolder, memoryEvalFolder } from "./folder.ts"
export { type ModelFacts, modelIdentity } from "./identity.ts"
export { type Merged, mergeRuns } from "./merge.ts"
export { aggregate, type TaskFacts, type TaskScores } from "./report/aggregate.ts"
export { PROMPT_DETAILS, type PromptDetail } from "./report/drill_data.ts"
export { type EvalReport, evalReport, type ReportFile, type ReportOptions } from "./report/report.ts"
export { type Responded, respond } from "./respond.ts"
export type { BaselineScores, PromptLine, ResultLine, RunFile, RunIdentity } from "./results.ts"
export { type ReadRun, readRun, type Shard } from "./run_folder.ts"
export { parseSuite, type Suite, type SuiteTask } from "./suite.ts"
export type {
  AnswerInstance,
  Baselines,
  ChoiceInstance,
  EndingInstance,
  EvalAnswer,
  EvalData,
  EvalModel,
  EvalTokenizer,
  Instance,
  LossInstance,
  MakeContext,
  Plan,
  PositionBucket,
  Response,
  Scored,
  Task,
  TaskRequest,
} from "./task.ts"
export { TASKS } from "./tasks/index.ts"
