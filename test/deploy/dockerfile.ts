import {
  type Copy as CopyInstruction,
  DockerfileParser,
  type Instruction,
  type PropertyInstruction
} from 'dockerfile-ast'
import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import { packageRoot } from '../../src/gateway-options.js'

export interface Copy {
  /** The stage or image copied from; the build context when undefined. */
  from: string | undefined
  sources: string[]
  target: string
}

/** What a stage of the Dockerfile says, without what it inherits. */
export interface Stage {
  name: string
  base: string
  copies: Copy[]
  env: Record<string, string>
  args: string[]
  labels: Record<string, string>
  instructions: { keyword: string; content: string }[]
}

/** Reads the Dockerfile at the root of the repository, stage by stage. */
export function readDockerfile(): Stage[] {
  const stages: Stage[] = []
  for (const instruction of DockerfileParser.parse(
    readFileSync(join(packageRoot, 'Dockerfile'), 'utf8')
  ).getInstructions()) {
    if (instruction.getKeyword() === 'FROM') stages.push(startStage(instruction))
    else addTo(stages.at(-1), instruction)
  }
  return stages
}

/** The environment of a stage's image: its own and what it inherits from stages of this file. */
export function environmentOf(stages: readonly Stage[], name: string): Record<string, string> {
  const stage = stages.find((candidate) => candidate.name === name)
  return stage === undefined ? {} : { ...environmentOf(stages, stage.base), ...stage.env }
}

function startStage(instruction: Instruction): Stage {
  const [base, , name] = instruction.getArguments().map((argument) => argument.getValue())
  if (base === undefined || name === undefined) throw new Error(`no name in ${instruction.toString()}`)
  return { name, base, copies: [], env: {}, args: [], labels: {}, instructions: [] }
}

function addTo(stage: Stage | undefined, instruction: Instruction): void {
  if (stage === undefined) throw new Error(`${instruction.toString()} stands before the first FROM`)
  const keyword = instruction.getKeyword()
  stage.instructions.push({ keyword, content: instruction.getArgumentsContent() ?? '' })
  if (keyword === 'COPY') stage.copies.push(readCopy(instruction))
  if (keyword === 'ENV') Object.assign(stage.env, readPairs(instruction))
  if (keyword === 'LABEL') Object.assign(stage.labels, readPairs(instruction))
  if (keyword === 'ARG') stage.args.push(...Object.keys(readPairs(instruction)))
}

function readCopy(instruction: Instruction): Copy {
  const from = (instruction as CopyInstruction).getFromFlag()?.getValue() ?? undefined
  const paths = instruction.getArguments().map((argument) => argument.getValue())
  return { from, sources: paths.slice(0, -1), target: paths.at(-1) ?? '' }
}

function readPairs(instruction: Instruction): Record<string, string> {
  const properties = (instruction as PropertyInstruction).getProperties()
  return Object.fromEntries(properties.map((property) => [property.getName(), property.getValue() ?? '']))
}
