"""Made texts whose numbers and signs look like personal data and are none: nothing in them may be masked."""

from __future__ import annotations

LOOKALIKES = {
    "en": """
The session of 2015 adopted A/RES/70/1 on 25 September 2015.
See S/2015/123 and A/HRC/RES/48/13, paragraphs 12-17.
Between 1967-1973 and 2015/2016 the share rose from 12.5 to 17.25 per cent.
The population reached 1 234 567 890 in 2011.
Some 1,234,567,890 people, or 7 900 000 000 by 2022, live there.
It cost $1 234 567 and later USD 12,345,678.90.
The loan of EUR 1.234.567,89 was paid on 01.02.2003.
ISBN 978-3-16-148410-0 is out of print.
ISBN-10: 0-306-40615-2
The DOI is 10.1038/s41586-020-2649-2.
See arXiv:2005.14165 and arXiv:1706.03762v7.
It runs version 1.2.3.4 of the firmware.
Upgrade from v10.0.0.1 to v10.0.19045.3570 today.
Section 4.2.1.3 explains clause 12.4.5.6.
commit 9fceb02d0ae598e95dc970b74767f19372d61af8 broke it
sha256 e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855
md5: 41401284012888888188188142424242
Order number 4155550132 has shipped.
Invoice 2024-000123-4567 is overdue.
Ticket #6175550123 was closed.
Tracking no. 9400111899223197428490 is in Ohio.
The station is at 51.507351, -0.127758.
40.7127281 -74.0060152 is New York.
Coordinates 48.8583701N 2.2944813E, height 330 m.
The meeting is at 10:30-11:45, 2024-05-01T12:30:45.123Z.
Timestamps 1700000000 and 1700000000123 differ.
20240501123045 is when the file was made.
Call for papers 2024, 12-14 June.
Follow @grid_watch and @un for news.
Write user@ and then your domain.
The cost is 5@2.50 each.
Use icon@2x.png on dense screens.
Install left-pad@1.3.0 first.
Ping 127.0.0.1 or 192.168.1.10 or 10.0.0.5 to test.
The examples use 192.0.2.14, 198.51.100.7 and 2001:db8::1.
The loopback ::1 and link-local fe80::1ff:fe23:4567:890a stay.
The mask is 255.255.255.0 for the lab.
The load was 1234.567 1240.221 1250.998 1263.402 MW.
Load at 06:00 2345678 kWh, at 07:00 2456789 kWh.
Feeder 0412345678901 tripped at 14:02.
Meter 59071112914 read 48213.77 kWh.
Row 12 345 678 901 234 has no unit.
0.123456789 0.234567891 0.345678912
3.14159265358979323846 is pi.
Test card 4111 1111 1111 1112 fails the check.
The number 1234 5678 9012 3456 is a sample.
5555-5555-5555-4445 is no card.
GB72 NWBK 6329 0456 9204 63 fails its check digits.
XX82 1234 5678 9012 3456 78 has no such country.
Part number 536-22-8145 is in stock.
Catalogue 862305287, shelf 7.
The asset 972027769746 was scrapped.
Model AB 12 34 56 C was recalled.
Grant 12345678A was refused.
Resolution 1325 (2000), 1820 (2008) and 2242 (2015).
Phone lines rose from 1 200 000 to 3 400 000.
The call centre took 12,345,678 calls in 2019.
Mobile subscriptions: 4 155 550 132 worldwide.
Telephone density was 415.5 per 1000.
His phone has 128 GB, 8 GB and 4500 mAh.
GDP 1990 1991 1992 1993 1994 1995
Votes: 152 to 4, with 12 abstentions; 193 members.
EAN 4006381333931 is on the pack.
550e8400-e29b-41d4-a716-446655440000 is the request.
MAC 00:1A:2B:3C:4D:5E is blocked.
https://example.com/item/4155550132?ref=4111111111111111
doi.org/10.1234/4155550132
Ratio 3:2:1 and time 12:30:45:678 in the log.
std::vector and a::b::c are names.
OID 1.3.6.1.4.1.343.1 is registered.
Flight UA 4155 at gate 55, seat 01-32.
The 800-555 rule and 911 are short.
Page 123-456-7890 of the log.
The lot 30569309025905 expired.
IMEI 490154203237518 is reported.
From 12-05-2001 to 13-06-2002, 400 km.
Law No. 13.709/2018 and Directive 2016/679/EU
+5 to -3 and +10.5 %
+12345 is the offset.
Masked before: <EMAIL>, <PHONE>, <CARD>, <IBAN>, <NATIONAL_ID>, <IP>.
1-2-3-4-5-6-7-8-9-10 and 1 2 3 4 5 6 7 8 9 10 11 12
Winning numbers: 06 12 34 41 45 49
Year 2030, Goal 13, target 13.1, indicator 13.1.1
Windows NT 10.0; Chrome/120.0.6099.109
""",
    "es": """
La población pasó de 1.234.567 a 1.345.678 habitantes en 2020.
El costo fue de 12.345.678 pesos y US$ 1 234 567.
Ley 27.275 y Decreto 206/2017, expediente 2017-04563123.
Pedido 612345678 enviado.
La factura 41400338 fue pagada.
El documento 41400338A no existe.
La sesión del 25/09/2015 duró de 10:30 a 13:45.
El código de barras 8410076472113 está roto.
Versión 2.0.1.7 del programa.
Entre 1990-2015 y 2016-2030 hubo cambios.
Sigue a @onu_es y @clima2030.
La central produjo 1.234,5 MWh y 2.345,6 MWh.
Expediente 18.811.293-6 archivado.
Latitud -34.603722, longitud -58.381592.
Son 7 900 000 000 de personas.
La red 192.168.0.1 es privada.
Coste: 612 345 678 euros.
""",
    "fr": """
La population était de 67 390 000 habitants en 2020.
Le budget s'élève à 1 234 567 890 €.
Loi n° 2015-992 du 17 août 2015, décret 2016-1110.
La commande 0612345679123 est partie.
Le 14/07/1789, vers 17:30:00.
Facture 265035972280956 payée.
Le code 185048065029 est court.
Version 3.1.4.15 du logiciel.
Tirage : 05 12 23 34 41 49
Suivez @ONU_fr dès 2024.
La production de 2 345 678 MWh a baissé de 3,5 %.
ISBN 978-2-07-036822-8, 2e édition
Les coordonnées 48.856614, 2.352222 sont exactes.
Le rapport A/75/6 (Sect. 29) et E/2020/57.
De 1 000 000 à 1 500 000 tonnes.
Le SIREN 732829320 de la société.
Montant : 06 123 456,78 francs.
""",
    "de": """
Die Bevölkerung stieg auf 83.123.456 Einwohner.
Der Haushalt umfasst 1.234.567.890 Euro.
Bestellnummer 01713920012 wurde geliefert.
Rechnung Nr. 2024-0012345 vom 01.02.2024.
Artikel 47613581123 ist vergriffen.
Gesetz vom 25.09.2015, BGBl. I S. 1234-1567.
Version 4.3.2.1 der Software.
Kapitel 2.1.3.4 behandelt das Netz.
Die Last betrug 45678,9 MW um 18:15 Uhr.
Zählerstand 0301234567 am 31.12.2023.
Koordinaten 52,520008 und 13,404954.
Lottozahlen 3 12 17 25 33 49
EAN 4006381333931 auf der Packung
Zeitraum 1990-2020, Seite 123-145.
Folge @bmuv oder #klima2030.
Aktenzeichen 12 C 345/67 vor Gericht.
DE02 9818 4882 4554 7406 99 ist falsch.
""",
    "pt": """
A população chegou a 203.080.756 habitantes em 2022.
O custo foi de R$ 1.234.567,89.
Lei nº 13.709/2018 e Decreto 9.203, de 2017.
Pedido 11912345678 enviado.
CNPJ 11.222.333/0001-81 da empresa.
O número 217.477.422-45 é inválido.
Processo 0001234-56.2020.8.26.0100
Versão 7.1.2.3 do aplicativo.
A carga foi de 85.123 MW às 14:30.
Em 07/09/1822, às margens do rio.
Siga @onubrasil em 2024.
Código 7891000315507 do produto.
De 1995-2005 a 2006-2016.
""",
    "ar": """
بلغ عدد السكان ١٠٥ ٠٠٠ ٠٠٠ نسمة عام ٢٠٢٢.
القرار ٧٠/١ بتاريخ ٢٥/٩/٢٠١٥.
الميزانية 1 234 567 890 دولار.
رقم الطلب 4155550132 قيد التنفيذ.
الإصدار 1.2.3.4 من البرنامج.
من ١٩٦٧ إلى ١٩٧٣ ومن 1990-2015.
الساعة ١٢:٣٠ يوم 2024-05-01.
تابعوا @un_arabic اليوم.
الإحداثيات 30.044420, 31.235712.
الحمل ١٢٣٤٥٦٧ كيلوواط.
A/RES/70/1 و S/2015/123
الصفحات 123-145 من المجلد 12.
""",
    "hi": """
जनसंख्या १ २३४ ५६७ ८९० हो गई।
बजट ₹ 12,34,56,789 करोड़ है।
वर्ष १९४७ से २०२२ तक।
संस्करण 1.2.3.4 जारी हुआ।
ऑर्डर संख्या 9876543210 भेजा गया।
दिनांक 15/08/1947 को 00:00 बजे।
लोड १२३४.५६ १२४०.२२ मेगावाट था।
धारा 4.2.1.3 देखें।
@un_hindi को फ़ॉलो करें।
खाता 784486938767 बंद है।
पृष्ठ 123-145, खंड 12
""",
    "zh": """
人口达到1 412 600 000人。
预算为1234567890元。
第70/1号决议于2015年9月25日通过。
版本1.2.3.4已发布。
订单号13912345678已发货。
1990-2015年间增长12.5%。
时间是2024-05-01 12:30:45。
坐标39.904202,116.407394。
负荷为１２３４５６７８９千瓦。
编号310104195202134777无效。
请关注@un_chinese。
条形码6901234567892
网址https://example.com/a/13912345678
ISBN 978-7-111-40701-0
""",
    "ru": """
Население составило 146 447 424 человека.
Бюджет 1 234 567 890 рублей.
Резолюция A/RES/70/1 от 25.09.2015.
Версия 1.2.3.4 вышла вчера.
Заказ 89123456789 доставлен.
Федеральный закон № 152-ФЗ от 27.07.2006
В 1967-1973 и 2015/2016 годах.
Нагрузка 1234,56 и 1240,22 МВт в 18:30.
Код 104-810-873 31 неверен.
Координаты 55.755826, 37.617300.
Подпишитесь на @un_ru.
Артикул 209117659060 снят.
Страницы 123-145, том 12.
Выработка 2 345 678 кВт·ч.
""",
    "ja": """
人口は125,927,902人です。
注文番号090-1234-5678は発送済みです。
バージョン1.2.3.4です。
2024年5月1日12時30分45秒
予算は1234567890円です。
""",
    "it": """
La popolazione è di 59 030 133 abitanti.
Ordine 3123456789 spedito il 12/05/2024.
Il codice MSGPDG77B15H677A è sbagliato.
Versione 5.4.3.2 del programma.
Legge 7 agosto 1990, n. 241
""",
    "nl": """
Bestelling 0612345678 is verzonden.
De stad telt 862305287 bomen.
Versie 1.0.4.12 is uit.
""",
    "pl": """
Zamówienie 512345678 wysłano.
Licznik 59071112914 wskazał 123456 kWh.
Ludność 38 386 000 w 2018.
""",
    "sv": """
Order 580901-8748 är klar.
Lagen 1991:481 och 2009:400.
Folkmängd 10 452 326 år 2021.
""",
    "tr": """
Nüfus 85 279 553 oldu.
Sipariş 05321234567 yolda.
Sürüm 1.2.3.4 yayınlandı.
""",
    "ko": """
주문 번호 010-2000-0000 배송 완료.
인구 51 780 579명.
버전 1.2.3.4
""",
}
