import type { TProperties } from 'typebox'
import { SdapiImg2ImgRequest, SdapiTxt2ImgRequest } from '../../schemas/sdapi.js'
import { IMG2IMG, TXT2IMG, type Unpainted } from '../../schemas/sdapi-fields.js'

/** A kind of request for images: its fields, and those of them that decide nothing here. */
export interface Kind extends Unpainted {
  /** The name of its route. */
  readonly name: string
  readonly properties: TProperties
}

export const txt2img: Kind = { name: 'txt2img', properties: SdapiTxt2ImgRequest.properties, ...TXT2IMG }
export const img2img: Kind = { name: 'img2img', properties: SdapiImg2ImgRequest.properties, ...IMG2IMG }
