import { Client } from './api/client.js'
import { ServerError } from './api/errors.js'
import type { GenerateRequest } from './api/types.js'
import { byId } from './lib/dom.js'
import { uuid } from './lib/random.js'
import type { History } from './model/history.js'
import { KeyRing } from './model/keys.js'
import type { Picture } from './model/picture.js'
import { Run } from './model/run.js'
import { fromRecipe, type Settings, toRequest } from './model/settings.js'
import { Announcer } from './view/announcer.js'
import { startDrop } from './view/drop.js'
import { showExamples } from './view/examples.js'
import { Form } from './view/form.js'
import { KeyDialog } from './view/key-dialog.js'
import { Notice } from './view/notice.js'
import { Placard } from './view/placard.js'
import { Progress } from './view/progress.js'
import { Service } from './view/service.js'
import { Sketchbook } from './view/sketchbook.js'
import { Stage } from './view/stage.js'

const HAS_SETTINGS = 'The form has the settings of this picture'

/** The page as a whole: what follows from what. */
export class Studio {
  readonly #keys = new KeyRing()
  readonly #client = new Client(this.#keys)
  readonly #announcer = new Announcer()
  readonly #form = new Form()
  readonly #stage = new Stage()
  readonly #progress = new Progress(this.#announcer)
  readonly #placard = new Placard(this.#announcer)
  readonly #notice = new Notice()
  readonly #keyDialog = new KeyDialog(this.#keys)
  readonly #service = new Service(this.#client)
  readonly #paintButton = byId('generate', HTMLButtonElement)
  readonly #stopButton = byId('cancel', HTMLButtonElement)
  readonly #history: History
  readonly #sketchbook: Sketchbook
  #run: Run | undefined
  #shown: Picture | undefined
  #model: string | undefined

  constructor(history: History) {
    this.#history = history
    this.#sketchbook = new Sketchbook(history)
    this.#wire()
    void this.#service.ask()
  }

  #wire(): void {
    this.#form.on('submit', (settings) => this.paint(settings))
    this.#notice.on('retry', () => this.#form.submit())
    this.#stage.on('show', (picture) => this.#show(picture))
    this.#placard.on('reuse', (picture) => this.#reuse(picture)).on('remove', (picture) => this.#remove(picture))
    this.#sketchbook.on('open', (picture) => this.#open(picture))
    this.#history.on('change', () => this.#placard.show(this.#shown, this.#kept(this.#shown)))
    this.#service
      .on('health', (health) => {
        this.#form.adopt(health)
        const model = health.model?.id
        if (model === undefined || model === this.#model) return
        this.#model = model
        showExamples(model, (prompt) => this.#begin(prompt))
      })
      .on('locked', () => this.#keyDialog.ask(() => void this.#service.ask()))
    this.#stopButton.addEventListener('click', () => this.stop())
    startDrop((file) => void this.#read(file))
    // Nobody would see the picture: the server need not finish it.
    window.addEventListener('pagehide', () => this.#run?.stop())
  }

  submit(): void {
    if (!this.#run?.active) this.#form.submit()
  }

  stop(): void {
    this.#run?.stop()
  }

  paint(settings: Settings): void {
    if (this.#run?.active) return
    this.#notice.hide()
    const run = new Run(this.#client, toRequest(settings, this.#form.steps))
    this.#run = run
    run
      .on('picture', ({ picture }) => void this.#history.add(picture))
      .on('change', () => this.#buttons())
      .on('end', ({ error }) => this.#ended(run.request, error))
    this.#stage.begin(run)
    this.#progress.begin(run)
    this.#buttons()
    void run.start()
  }

  #ended(request: GenerateRequest, error: unknown): void {
    if (error === undefined) return
    const { statusCode, field, message } = error instanceof ServerError ? error.body : {}
    if (statusCode === 401) return this.#keyDialog.ask(() => this.#form.submit())
    const atField = statusCode === 400 && field !== undefined && this.#form.errors.show(field, message ?? '')
    if (!atField) this.#notice.show(error, { retry: statusCode !== 400 })
    else this.#announcer.say(`${field}: ${message} (${request.prompt.length} characters)`)
  }

  #buttons(): void {
    const active = this.#run?.active ?? false
    const hadFocus = document.activeElement === (active ? this.#paintButton : this.#stopButton)
    this.#paintButton.hidden = active
    this.#stopButton.hidden = !active
    // A button that goes away hands the focus to the one in its place.
    if (hadFocus) (active ? this.#stopButton : this.#paintButton).focus()
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

  #reuse(picture: Picture): void {
    this.#form.write(fromRecipe(picture.recipe))
    this.#announcer.show(HAS_SETTINGS)
    byId('prompt', HTMLTextAreaElement).focus()
  }

  #remove(picture: Picture): void {
    this.#stage.clear()
    void this.#history.delete([picture.id])
    this.#announcer.show('Deleted')
  }

  /** Reads the recipe of a picture that was brought here. */
  async #read(file: File | undefined): Promise<void> {
    this.#notice.hide()
    if (file === undefined) return this.#announcer.show('That is no PNG, JPEG or WebP')
    try {
      const { recipe, request, same_model: sameModel } = await this.#client.recipe(file)
      if (!this.#run?.active) this.#open({ id: uuid(), createdAt: Date.now(), blob: file, recipe })
      this.#form.write(fromRecipe({ ...recipe, ...request }))
      this.#announcer.show(sameModel ? HAS_SETTINGS : `${HAS_SETTINGS}. It was made by ${recipe.model} ${recipe.version}; here it will look different`)
    } catch (error) {
      const locked = error instanceof ServerError && error.body.statusCode === 401
      if (locked) this.#keyDialog.ask(() => void this.#read(file))
      else this.#notice.show(error, { retry: false })
    }
  }
}
