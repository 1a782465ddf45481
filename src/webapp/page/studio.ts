import { Client } from './api/client.js'
import { ServerError } from './api/errors.js'
import type { GenerateRequest, Health, Known } from './api/types.js'
import { byId } from './lib/dom.js'
import { uuid } from './lib/random.js'
import { count } from './lib/text.js'
import { modelNames } from './model/offer.js'
import type { History } from './model/history.js'
import { KeyRing } from './model/keys.js'
import type { Picture } from './model/picture.js'
import { type Entry, MOST_WAITING, Queue } from './model/queue.js'
import { type ConditionList, PARTS, plainCondition } from './model/conditions.js'
import { Run } from './model/run.js'
import { fromRecipe, requestOf, sizeOfName, unlike } from './model/settings.js'
import { Sources } from './model/sources.js'
import { readStart, type StartRecipe, varyStrength } from './model/start.js'
import { Announcer } from './view/announcer.js'
import { Blank } from './view/blank.js'
import type { PreviewAsk } from './view/condition-entry.js'
import type { Followed } from './view/condition-field.js'
import { DocumentsLink } from './view/documents-link.js'
import { startDrop } from './view/drop.js'
import { Form } from './view/form.js'
import { KeyDialog } from './view/key-dialog.js'
import { Notice } from './view/notice.js'
import { Placard } from './view/placard.js'
import { Progress } from './view/progress.js'
import { PromptCounts } from './view/prompt-counts.js'
import { QueueList } from './view/queue-list.js'
import { PREPARING, Service } from './view/service.js'
import { Sketchbook } from './view/sketchbook.js'
import { Stage } from './view/stage.js'
import { describe, describeField, passes } from './view/words.js'

const HAS_SETTINGS = 'Loaded the settings of this image'

/** The syntax of the weights that the page writes by itself. */
const SYNTAX = 'AUTOMATIC1111'

const FILES = ['image', 'mask_image', ...Object.values(PARTS)] as const

/** The whole page: connects its models and views. */
export class Studio {
  readonly #keys = new KeyRing()
  readonly #client = new Client(this.#keys)
  readonly #queue = new Queue()
  readonly #queueList = new QueueList()
  readonly #announcer = new Announcer()
  readonly #form = new Form()
  readonly #counts = new PromptCounts(this.#client)
  readonly #stage = new Stage()
  readonly #blank = new Blank()
  readonly #progress = new Progress(this.#announcer)
  readonly #placard = new Placard(this.#announcer)
  readonly #notice = new Notice()
  readonly #keyDialog = new KeyDialog(this.#keys)
  readonly #service = new Service(this.#client)
  readonly #documentsLink = new DocumentsLink()
  readonly #paintText = byId('generate-text', HTMLSpanElement)
  readonly #paintButton = byId('generate', HTMLButtonElement)
  readonly #stopButton = byId('cancel', HTMLButtonElement)
  readonly #sources = new Sources()
  readonly #history: History
  readonly #sketchbook: Sketchbook
  #run: Run | undefined
  #shown: Picture | undefined
  #status: Health['status'] | undefined
  /** The model whose LoRAs are offered. */
  #lorasOf: string | undefined
  /** The model whose nets for pictures are offered. */
  #conditionsOf: string | undefined
  /** The entry that "Try again" retries; undefined if the failure was not of a request. */
  #failed: Entry | undefined

  constructor(history: History) {
    this.#history = history
    this.#sketchbook = new Sketchbook(history)
    this.#wire()
    void this.#service.ask()
  }

  #wire(): void {
    this.#form
      .on('submit', () => this.#ask())
      .on('model', (model) => this.#choose(model))
      .on('prompts', (prompts) => this.#counts.show(prompts))
      .on('syntax', () => this.#announcer.show(`Prompt syntax: ${SYNTAX}`))
      .on('wrong', (fields) => this.#announcer.say(`${count(fields, 'field is', 'fields are')} invalid`))
    this.#form.start
      .on('taken', () => this.#announcer.say('The picture is in the form'))
      .on('problem', (words) => this.#announcer.say(words))
    this.#form.conditions.controls.on('preview', (ask) => void this.#preview(ask))
    this.#form.loras.on('look', () => void this.#listLoras())
    this.#counts
      .on('syntax', (prompt_syntax) => this.#form.write({ prompt_syntax }))
      .on('over', (text) => this.#announcer.say(text))
    this.#queue.on('begin', ({ entry, byHand }) => this.#paint(entry, byHand)).on('change', () => this.#queued())
    this.#queueList.on('cancel', (id) => this.#queue.cancel(id))
    this.#notice.on('retry', ({ byHand }) => this.#again(byHand)).on('dismiss', () => this.#queue.release('trouble'))
    this.#blank.on('take', (prompt) => this.#begin(prompt))
    this.#stage.on('show', (picture) => this.#show(picture))
    this.#placard
      .on('reuse', (picture) => void this.#reuse(picture))
      .on('remove', (picture) => this.#remove(picture))
      .on('alike', (picture) => void this.#alike(picture))
      .on('vary', (picture) => void this.#vary(picture))
      .on('start', (picture) => void this.#form.start.take(picture.blob))
    this.#sketchbook.on('open', (picture) => this.#open(picture)).on('clear', () => this.#clear())
    this.#history.on('change', () => this.#placard.show(this.#shown, this.#kept(this.#shown)))
    this.#service
      .on('health', ({ health, since }) => this.#heard(health, since))
      .on('documents', (documents) => this.#documentsLink.show(documents))
      .on('locked', () => this.#keyDialog.ask(() => void this.#service.ask()))
    this.#stopButton.addEventListener('click', () => this.stop())
    startDrop({
      read: (file) => void this.#read(file),
      start: (file) => void this.#form.start.take(file),
      starts: () => this.#form.start.supported
    })
    // Nobody would see the picture, so stop the server's work on it.
    window.addEventListener('pagehide', () => this.#run?.stop())
  }

  submit(): void {
    this.#form.submit()
  }

  stop(): void {
    this.#run?.stop()
  }

  /** Undoes the last action, if possible. @returns whether it did */
  undo(): boolean {
    return this.#announcer.undo()
  }

  #choose(model: string | undefined): void {
    // The status of another model is no news.
    this.#status = undefined
    this.#service.choose(model)
  }

  #heard(health: Health, since: number): void {
    this.#form.offerModels(health)
    // The offered models may include the one that the visitor chose earlier.
    if (this.#form.model !== this.#service.model) return this.#choose(this.#form.model)
    this.#placard.models = modelNames(health)
    const { status } = health
    const preparing = PREPARING.has(status)
    this.#form.adopt(health)
    this.#placard.starts = this.#form.start.supported
    if (health.features.includes('loras') && this.#lorasOf !== (this.#service.model ?? '')) void this.#listLoras()
    const follows = health.features.some((feature) => Object.hasOwn(PARTS, feature))
    if (follows && this.#conditionsOf !== (this.#service.model ?? '')) void this.#listConditions()
    this.#blank.show(health, since, Date.now())
    if (!this.#run?.active) this.#progress.prepare(preparing)
    if (preparing) this.#queue.hold('model')
    else this.#queue.release('model')
    if (status === 'ready' && this.#status !== undefined && PREPARING.has(this.#status))
      this.#announcer.show('The model is ready')
    this.#status = status
  }

  /** Offers the chosen model's LoRAs. What fails here fails again with the picture, and is explained there. */
  async #listLoras(): Promise<void> {
    const { model } = this.#service
    this.#lorasOf = model ?? ''
    try {
      const loras = await this.#client.loras(model)
      if (this.#service.model === model) this.#form.loras.offer(loras)
    } catch {
      this.#lorasOf = undefined
    }
  }

  /** Offers the chosen model's nets for pictures, as `#listLoras` does. */
  async #listConditions(): Promise<void> {
    const { model } = this.#service
    this.#conditionsOf = model ?? ''
    try {
      const names = await this.#client.conditions(model)
      if (this.#service.model !== model) return
      for (const list of Object.keys(PARTS) as ConditionList[]) this.#form.conditions[list].offer(names[list])
    } catch {
      this.#conditionsOf = undefined
    }
  }

  /** Requests a picture now, or when earlier requests are done. */
  #ask(): void {
    this.#notice.hide()
    if (!this.#queue.add(this.#form.request, this.#form.files))
      return this.#announcer.show(`The queue is full: ${MOST_WAITING} requests are waiting`)
    const { length } = this.#queue.waiting
    if (length > 0) this.#announcer.say(`${count(length, 'request is', 'requests are')} waiting`)
  }

  #queued(): void {
    this.#queueList.show(this.#queue)
    this.#buttons()
  }

  #again(byHand: boolean): void {
    if (this.#failed !== undefined) this.#queue.again(this.#failed, byHand)
    this.#failed = undefined
  }

  #paint(entry: Entry, byHand: boolean): void {
    const run = new Run(this.#client, entry)
    this.#run = run
    run
      .on('picture', ({ picture }) => {
        this.#sources.note(picture.recipe, entry.files)
        void this.#history.add(picture)
      })
      .on('change', () => this.#buttons())
      .on('end', ({ error }) => this.#ended(entry, error))
    this.#stage.begin(run, byHand)
    this.#progress.begin(run)
    void run.start()
  }

  #ended(entry: Entry, error: unknown): void {
    if (error !== undefined) this.#explain(entry, error)
    this.#queue.finished()
  }

  /**
   * Shows why the request failed: at the wrong field if the form still holds the request, else in a notice. Pauses the
   * queue if waiting requests would fail for the same reason.
   */
  #explain(entry: Entry, error: unknown): void {
    this.#failed = entry
    const body = error instanceof ServerError ? error.body : undefined
    if (body?.statusCode === 401) {
      this.#queue.hold('trouble')
      return this.#keyDialog.ask(() => this.#again(true))
    }
    const passing = passes(error)
    if (passing) this.#queue.hold('trouble')
    const inForm = this.#holds(entry)
    if (inForm && body?.field !== undefined && (body.statusCode === 400 || body.statusCode === 413)) {
      const words = describeField(body)
      const offer =
        body.code === 'PROMPT_TOO_LONG'
          ? { text: 'Generate with a truncated prompt', act: () => this.#truncate() }
          : undefined
      if (this.#form.errors.show(body.field, words, offer)) return this.#announcer.say(words)
    }
    // Retry automatically if more requests wait, since the visitor may be away, and if only a restart ended this one.
    const auto = passing && (this.#queue.waiting.length > 0 || body?.code === 'DRAINING')
    this.#notice.show(error, { retry: body?.statusCode !== 400, auto, about: inForm ? '' : entry.request.prompt })
  }

  /** Whether the form still has what this entry requests. */
  #holds({ request, files }: Entry): boolean {
    const now = this.#form.files
    return (
      FILES.every((name) => same(now[name], files[name])) &&
      JSON.stringify(this.#form.request) === JSON.stringify(request)
    )
  }

  /** Requests the picture with a truncated prompt, and reveals the setting because it stays on. */
  #truncate(): void {
    this.#form.write({ truncate: true })
    this.#form.reveal('truncate')
    this.#form.submit()
  }

  #buttons(): void {
    const active = this.#run?.active ?? false
    const hadFocus = document.activeElement === this.#stopButton
    this.#paintText.textContent = active || this.#queue.waiting.length > 0 ? 'Add to queue' : 'Generate'
    this.#stopButton.hidden = !active
    // Do not lose the focus with the hidden button.
    if (hadFocus && !active) this.#paintButton.focus()
  }

  #show(picture: Picture | undefined): void {
    this.#shown = picture
    this.#placard.show(picture, this.#kept(picture))
    this.#sketchbook.mark(picture)
  }

  #open(picture: Picture): void {
    if (!this.#run?.active) this.#progress.forget()
    this.#stage.show(picture)
  }

  #kept(picture: Picture | undefined): boolean {
    return picture !== undefined && this.#history.pictures.some(({ id }) => id === picture.id)
  }

  #begin(prompt: string): void {
    this.#form.write({ prompt })
    byId('prompt', HTMLTextAreaElement).focus()
  }

  async #reuse({ recipe }: Picture): Promise<void> {
    this.#form.write(fromRecipe(recipe, this.#form.refinements))
    await this.#startAs(recipe)
    this.#announcer.show(this.#loaded(requestOf(recipe, this.#placard.models)))
    byId('prompt', HTMLTextAreaElement).focus()
  }

  /** Requests images with the same settings and other seeds. */
  async #alike({ recipe }: Picture): Promise<void> {
    const { num_images } = this.#form.settings
    this.#form.write({ ...fromRecipe(recipe, this.#form.refinements), seed: undefined, num_images })
    await this.#startAs(recipe)
    this.#form.submit()
  }

  /** Requests variations of the image: they start from it, with other seeds. */
  async #vary({ recipe, blob }: Picture): Promise<void> {
    const { num_images } = this.#form.settings
    const settings = fromRecipe(recipe, this.#form.refinements)
    // The image is already enlarged.
    const { hires: enlarged, size = '' } = settings
    this.#form.write({ ...settings, size: enlarged || size, hires: '', seed: undefined, num_images })
    this.#form.write({ resize_mode: '', padding_mask_crop: undefined, strength: varyStrength(this.#form.steps) })
    await this.#followAs(recipe)
    this.#form.start.put(await readStart(blob, undefined))
    this.#form.submit()
  }

  /** Puts the picture and the mask of a recipe into the form, or asks for what is not here. */
  async #startAs(recipe: StartRecipe & Pick<Known, ConditionList>): Promise<void> {
    const { image_sha256: image, mask_image_sha256: mask } = recipe
    const { start } = this.#form
    await this.#followAs(recipe)
    if (image === undefined) return start.put(undefined)
    const files = this.#history.pictures.map(({ blob }) => blob)
    const found = start.value?.sha256 === image ? start.value.file : await this.#sources.find(image, files)
    const masking =
      mask === undefined ? undefined : await this.#sources.find(mask, start.mask === undefined ? [] : [start.mask])
    const wanted = { image: found === undefined, mask: mask !== undefined && masking === undefined }
    if (found === undefined) start.put(undefined, undefined, { image: true, mask: mask !== undefined })
    else start.put(await readStart(found, undefined), masking, wanted)
  }

  /** Puts in what the images of a recipe follow. */
  async #followAs(recipe: Pick<Known, ConditionList>): Promise<void> {
    for (const list of Object.keys(PARTS) as ConditionList[]) {
      const field = this.#form.conditions[list]
      const others = [...field.files, ...this.#history.pictures.map(({ blob }) => blob)]
      const followed: Followed[] = []
      for (const entry of recipe[list] ?? []) {
        const { image_sha256: sha256 } = entry
        const file = sha256 === undefined ? undefined : await this.#sources.find(sha256, others)
        followed.push({ values: plainCondition(entry), picture: file && (await readStart(file, undefined)) })
      }
      field.put(followed)
    }
  }

  /** Shows what a preprocessor draws of a picture, at the size of the image. */
  async #preview({ drawing, file, show, fail }: PreviewAsk): Promise<void> {
    const { model, size } = this.#form.settings
    try {
      const asked = { ...drawing, ...sizeOfName(size), ...(model === undefined ? {} : { model }) }
      show(await this.#client.previewControl(asked, file))
      this.#announcer.say('What is drawn is shown')
    } catch (error) {
      const body = error instanceof ServerError ? error.body : undefined
      if (body?.statusCode === 401) return this.#keyDialog.ask(() => void this.#preview({ drawing, file, show, fail }))
      fail(body?.field === undefined ? describe(error).text : describeField(body))
    }
  }

  /** Says that the form has the settings of an image, and which of them it cannot have here. */
  #loaded(request: GenerateRequest): string {
    const { image_sha256: image, mask_image_sha256: mask_image } = request
    const { files } = this.#form.start
    const missing = [
      ...unlike(request, this.#form.requestWith({ image, mask_image })),
      ...(image !== undefined && files.image === undefined ? ['its picture'] : []),
      ...(mask_image !== undefined && files.mask_image === undefined ? ['its mask'] : [])
    ]
    return missing.length === 0 ? HAS_SETTINGS : `${HAS_SETTINGS}, except ${missing.join(', ')}`
  }

  /** Deletes a picture, shows its neighbour, and offers to undo. */
  #remove(picture: Picture): void {
    const beside = neighbour(this.#history.pictures, picture)
    this.#stage.mark(picture, true)
    if (beside === undefined) this.#stage.clear()
    else this.#open(beside)
    void this.#history.delete([picture.id])
    this.#announcer.show('Deleted', () => void this.#restore(picture))
    if (beside === undefined) this.#announcer.focusUndo()
  }

  async #restore(picture: Picture): Promise<void> {
    await this.#history.add(picture)
    this.#stage.mark(picture, false)
    this.#open(picture)
  }

  #clear(): void {
    if (this.#kept(this.#shown)) this.#stage.clear()
    if (!this.#run?.active) this.#progress.forget()
    void this.#history.clear()
  }

  /** Reads the recipe of a dropped or chosen file. */
  async #read(file: File | undefined): Promise<void> {
    if (!this.#queue.holds.has('trouble')) this.#notice.hide()
    if (file === undefined) return this.#announcer.show('Only PNG, JPEG and WebP images can be opened')
    try {
      const { recipe, request, same_model: sameModel } = await this.#client.recipe(file)
      if (!this.#run?.active) this.#open({ id: uuid(), createdAt: Date.now(), blob: file, recipe })
      this.#form.write(fromRecipe({ ...recipe, ...request }, this.#form.refinements))
      await this.#startAs(request)
      this.#announcer.show(
        sameModel
          ? this.#loaded(request)
          : `${this.#loaded(request)}. It was made with ${recipe.model} (Easel ${recipe.version}); this server's images will differ`
      )
    } catch (error) {
      const locked = error instanceof ServerError && error.body.statusCode === 401
      if (locked) this.#keyDialog.ask(() => void this.#read(file))
      else this.#notice.show(error, { retry: false })
    }
  }
}

/** Whether two requests have the same files in a field. */
function same(one: Blob | readonly Blob[] | undefined, other: Blob | readonly Blob[] | undefined): boolean {
  const [ones, others] = [[one].flat(), [other].flat()]
  return ones.length === others.length && ones.every((file, index) => file === others[index])
}

/** The next picture, or the previous one if it is the last. */
function neighbour(pictures: readonly Picture[], picture: Picture): Picture | undefined {
  const index = pictures.findIndex(({ id }) => id === picture.id)
  return pictures[index + 1] ?? pictures[index - 1]
}
