import type { FastifyRequest } from 'fastify'
import type { Run } from '../../service/run.js'
import { scopeOf } from '../caller.js'

/** A request of this API in flight. */
export interface Task {
  readonly run: Run
  /** The name of its route. */
  readonly kind: string
  /** The name that its client gave it: `force_task_id`. */
  readonly id: string | undefined
  /** How many images it asks for. */
  readonly images: number
  readonly since: Date
}

/** The requests of this API in flight, by their callers. */
export class Tasks {
  readonly #byScope = new Map<string, Set<Task>>()

  add(scope: string, task: Task): void {
    if (task.run.ended) return
    const tasks = this.#byScope.get(scope) ?? new Set()
    tasks.add(task)
    this.#byScope.set(scope, tasks)
    task.run.onEnd(() => {
      tasks.delete(task)
      if (tasks.size === 0 && this.#byScope.get(scope) === tasks) this.#byScope.delete(scope)
    })
  }

  /**
   * The caller's requests, the oldest first: all of them, or those of one name. Without access keys all callers are one,
   * so there each must give the name.
   */
  of(request: FastifyRequest, id: string | undefined): readonly Task[] {
    if (id === undefined && request.access === null) return []
    const tasks = [...(this.#byScope.get(scopeOf(request)) ?? [])]
    return id === undefined ? tasks : tasks.filter((task) => task.id === id)
  }
}
