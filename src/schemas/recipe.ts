import { Type } from 'typebox'
import { Recipe } from '../image/recipe.js'
import { GenerateRequest } from './generate.js'
import { ref } from './ref.js'

/** Body of POST /recipe's answer. */
export const RecipeResponse = Type.Object(
  {
    recipe: ref(Recipe),
    request: ref(GenerateRequest),
    same_model: Type.Boolean({
      description:
        'Whether this server has the model and the release that made the image; only then are the same bytes promised.'
    })
  },
  { $id: 'RecipeResponse' }
)
