import { Type } from 'typebox'
import { Recipe } from '../image/recipe.js'
import { GenerateRequest } from './generate.js'
import { ref } from './ref.js'

/** Body of the answer to POST /recipe. */
export const RecipeResponse = Type.Object(
  {
    recipe: ref(Recipe),
    request: ref(GenerateRequest),
    same_model: Type.Boolean({
      description:
        'Whether this server runs the model and release that made the image. Only then is the same file guaranteed.'
    })
  },
  { $id: 'RecipeResponse' }
)
