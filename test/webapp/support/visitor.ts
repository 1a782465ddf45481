import { readFile } from 'node:fs/promises'
import { type Browser, type BrowserContext, chromium, type Locator, type Page } from 'playwright-core'
import { afterAll, beforeAll, onTestFinished } from 'vitest'
import { browser as browserPath } from '../../../tools/browser.mjs'
import { until } from '../../support/wait.js'

type ContextOptions = NonNullable<Parameters<Browser['newContext']>[0]>

/** What the browser itself reports for an answer that is an error; the page says it in better words. */
const REPORTED_ANSWER = /Failed to load resource/

/** Starts a browser for the tests of a file. @returns a way to let visitors in */
export function useBrowser(): (url: string, options?: ContextOptions) => Promise<Visitor> {
  let browser: Browser | undefined
  beforeAll(async () => {
    // Chromium's sandbox needs a user that is not root. Software rendering is the same everywhere.
    browser = await chromium.launch({
      executablePath: browserPath(),
      chromiumSandbox: process.getuid?.() !== 0,
      args: ['--disable-gpu', '--force-color-profile=srgb']
    })
  })
  afterAll(() => browser?.close())
  return async (url, options) => {
    const context = await browser!.newContext({ viewport: { width: 1360, height: 900 }, ...options })
    const visitor = await Visitor.enter(context, url)
    onTestFinished(async () => {
      await context.close()
      visitor.complain()
    })
    return visitor
  }
}

/** Somebody with a browser of their own, looking at the page. */
export class Visitor {
  readonly page: Page
  readonly context: BrowserContext
  readonly #url: string
  readonly #complaints: string[] = []

  private constructor(page: Page, url: string) {
    this.page = page
    this.context = page.context()
    this.#url = url
    page.setDefaultTimeout(120_000)
    page.on('pageerror', (error) => this.#complaints.push(`error in the page: ${error.stack}`))
    // A breach of the Content-Security-Policy is told of on the console too.
    page.on('console', (message) => {
      if (message.type() === 'error' && !REPORTED_ANSWER.test(message.text()))
        this.#complaints.push(`console: ${message.text()}`)
    })
    page.on('request', (request) => {
      if (!/^(blob|data):/.test(request.url()) && new URL(request.url()).origin !== new URL(url).origin)
        this.#complaints.push(`request to another server: ${request.url()}`)
    })
  }

  static async enter(context: BrowserContext, url: string): Promise<Visitor> {
    const visitor = new Visitor(await context.newPage(), url)
    await visitor.open()
    return visitor
  }

  /** Opens the page, again too. */
  async open(): Promise<void> {
    await this.page.goto(this.#url)
  }

  /** Fails when anything went wrong that a visitor need not have seen. */
  complain(): void {
    if (this.#complaints.length > 0) throw new Error(this.#complaints.join('\n'))
  }

  /** Waits until the page has heard that the model is ready. */
  async ready(): Promise<void> {
    await this.page.locator('#service[data-state=ready]').waitFor()
  }

  /** Fills in fields, by their names in the request. */
  async write(fields: Record<string, string | number>): Promise<void> {
    for (const [name, value] of Object.entries(fields)) await this.page.locator(`#${name}`).fill(String(value))
  }

  async paint(fields: Record<string, string | number>): Promise<void> {
    await this.write(fields)
    await this.page.getByRole('button', { name: 'Paint' }).click()
  }

  /** Keeps requests for pictures on their way to the server, so that they are under way for as long as a test wants. @returns what lets them go */
  async hold(): Promise<() => Promise<void>> {
    let release = () => {}
    const released = new Promise<void>((resolve) => (release = resolve))
    await this.page.route('**/generate', async (route) => {
      await released
      // The page may have stopped it meanwhile.
      await route.continue().catch(() => undefined)
    })
    return async () => {
      release()
      await this.page.unroute('**/generate')
    }
  }

  /** The picture on the easel, once one is finished. */
  get picture(): Locator {
    return this.page.locator('.frame[data-state=done] .layer').last()
  }

  get progress(): Locator {
    return this.page.locator('#progress-text')
  }

  get notice(): Locator {
    return this.page.getByRole('alert')
  }

  /** The pictures in the sketchbook, newest first. */
  get sketches(): Locator {
    return this.page.locator('.sketch')
  }

  /** Waits until the sketchbook holds just so many: a picture is in it a moment after it is on the easel. */
  async keeps(count: number, timeout?: number): Promise<void> {
    await until(`${count} pictures are in the sketchbook`, async () => (await this.sketches.count()) === count, timeout)
  }

  /** Waits until nothing is being painted. */
  async rests(): Promise<void> {
    await this.button('Stop').waitFor({ state: 'hidden' })
  }

  button(name: string | RegExp, exact = false): Locator {
    return this.page.getByRole('button', { name, exact })
  }

  /** Waits until a text is shown. */
  async sees(place: Locator, text: RegExp): Promise<void> {
    await place.filter({ hasText: text }).waitFor()
  }

  /** Downloads the picture on the easel, as a person does. */
  async download(): Promise<{ name: string; bytes: Buffer }> {
    const started = this.page.waitForEvent('download')
    await this.page.getByRole('link', { name: 'Download' }).click()
    const download = await started
    return { name: download.suggestedFilename(), bytes: await readFile(await download.path()) }
  }
}
