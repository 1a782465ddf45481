import { History } from './model/history.js'
import { Studio } from './studio.js'
import { startTheme } from './view/theme.js'

startTheme()
const studio = new Studio(await History.open())

// Not on a phone, where the focus would open the keyboard. Do not scroll: the easel may be above the form.
if (matchMedia('(hover: hover)').matches) document.getElementById('prompt')?.focus({ preventScroll: true })

document.addEventListener('keydown', (event) => {
  if (document.querySelector('dialog[open]') !== null) return
  if (event.key === 'Enter' && (event.ctrlKey || event.metaKey)) {
    event.preventDefault()
    studio.submit()
  }
  if (event.key === 'Escape') studio.stop()
  // Within a field, leave it to the browser's own undo.
  if (
    event.key === 'z' &&
    (event.ctrlKey || event.metaKey) &&
    !(event.target instanceof HTMLElement && event.target.matches('input, textarea')) &&
    studio.undo()
  )
    event.preventDefault()
})
