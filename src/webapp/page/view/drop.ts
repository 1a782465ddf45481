import { byId } from '../lib/dom.js'

const TYPES = new Set(['image/png', 'image/jpeg', 'image/webp'])

export interface Takers {
  /** Gets a picture to load the settings of; undefined if the file is not a picture. */
  read: (file: File | undefined) => void
  /** Gets a file to start from. */
  start: (file: File) => void
  /** Whether the model starts from pictures. */
  starts: () => boolean
}

/** Accepts pictures dropped on the page, pasted, or chosen to load their settings. */
export function startDrop({ read, start, starts }: Takers): void {
  const overlay = byId('drop', HTMLDivElement)
  const picker = byId('file', HTMLInputElement)
  const startHere = byId('drop-start', HTMLParagraphElement)
  byId('pick', HTMLButtonElement).addEventListener('click', () => picker.click())
  picker.addEventListener('change', () => {
    if (picker.files?.[0] !== undefined) read(pictureOf(picker.files))
    picker.value = ''
  })
  document.addEventListener('dragover', (event) => {
    if (!event.dataTransfer?.types.includes('Files')) return
    event.preventDefault()
    startHere.hidden = !starts()
    byId('drop-read', HTMLParagraphElement).textContent = `Drop ${starts() ? 'here' : 'an image'} to load its settings`
    overlay.hidden = false
    for (const zone of overlay.children) zone.toggleAttribute('data-over', zone === zoneOf(event))
  })
  document.addEventListener('dragleave', (event) => {
    // relatedTarget is null only when the pointer leaves the window.
    if (event.relatedTarget === null) overlay.hidden = true
  })
  document.addEventListener('drop', (event) => {
    const [file] = event.dataTransfer?.files ?? []
    if (file === undefined) return
    event.preventDefault()
    overlay.hidden = true
    if (zoneOf(event) === startHere) start(pictureOf(event.dataTransfer!.files) ?? file)
    else read(pictureOf(event.dataTransfer!.files))
  })
  document.addEventListener('paste', (event) => {
    const [file] = event.clipboardData?.files ?? []
    // Text that was copied with a picture of itself is meant as text.
    if (file === undefined || event.clipboardData!.types.includes('text/plain') || !starts()) return
    event.preventDefault()
    start(pictureOf(event.clipboardData!.files) ?? file)
  })
}

/** The zone of the overlay under the pointer. */
function zoneOf({ target }: DragEvent): Element | null {
  return target instanceof Element ? target.closest('.drop > p') : null
}

function pictureOf(files: FileList): File | undefined {
  return [...files].find(({ type }) => TYPES.has(type))
}
