/** Binds each slider of the form to its number field. */
export function joinDials(form: HTMLFormElement): void {
  for (const slider of form.querySelectorAll<HTMLInputElement>('input[type=range][data-for]')) {
    const field = form.elements.namedItem(slider.dataset['for']!) as HTMLInputElement
    slider.addEventListener('input', () => {
      field.value = slider.value
      field.dispatchEvent(new Event('input', { bubbles: true }))
    })
    field.addEventListener('input', () => showOnSlider(slider, field))
  }
}

/** Sets the sliders to the values of their fields. */
export function showDials(form: HTMLFormElement): void {
  for (const slider of form.querySelectorAll<HTMLInputElement>('input[type=range][data-for]')) {
    showOnSlider(slider, form.elements.namedItem(slider.dataset['for']!) as HTMLInputElement)
  }
}

/** A slider covers the usual range, capped at the field's maximum. */
function showOnSlider(slider: HTMLInputElement, field: HTMLInputElement): void {
  slider.max = String(Math.min(Number(slider.dataset['most']), Number(field.max)))
  slider.toggleAttribute('data-empty', field.value === '')
  slider.value = field.value === '' ? slider.min : field.value
  const [min, max] = [Number(slider.min), Number(slider.max)]
  slider.style.setProperty('--filled', String((Number(slider.value) - min) / (max - min)))
}
